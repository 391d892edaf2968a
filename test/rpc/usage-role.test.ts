import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigSchema } from "../../gen/ts/weir/config/v1/config_pb.ts";
import { UsageService } from "../../gen/ts/weir/usage/v1/usage_service_pb.ts";
import { role as authRole } from "../../services/auth/role.ts";
import { type Assembled, assemble } from "../../services/runtime/assemble.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { resolveSettings } from "../../services/runtime/config/resolve.ts";
import { WeirError } from "../../services/runtime/errors/fail.ts";
import { systemIds } from "../../services/runtime/ids.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { createLog } from "../../services/runtime/telemetry/log.ts";
import { role as usageRole } from "../../services/usage/role.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { bytesOf, usageRecord } from "../fakes/usage-records.ts";

let opened: AsyncDisposableStack;
let database: TestDatabase;
let dataDir: string;
let lines: string;

beforeEach(async () => {
  opened = new AsyncDisposableStack();
  database = opened.use(await createTestDatabase());
  dataDir = await mkdtemp(join(tmpdir(), "weir-usage-"));
  opened.defer(() => rm(dataDir, { recursive: true, force: true }));
  lines = "";
});
afterEach(() => opened.disposeAsync());

/** One process's life. */
async function life<T>(live: (process: Assembled) => Promise<T>): Promise<T> {
  await using process = new AsyncDisposableStack();
  const log = createLog("info", { write: (line) => void (lines += line) });
  const config = create(ConfigSchema, { postgres: { url: database.url } });
  const say = ({ path, message }: { path: string; message: string }) => expect.fail(`${path}: ${message}`);
  const settings = resolveSettings(config, { folder: dataDir, dataDir, say });
  const assembled = process.use(await assemble({ settings, clock: systemClock, log }));
  process.use(await authRole.start(assembled.runtime));
  process.use(await usageRole.start(assembled.runtime));
  assembled.watchKeys();
  return await live(assembled);
}

test("a process that starts again on its database knows all that was used, and makes no partition twice", async () => {
  const nowMs = systemClock.nowMs();
  const record = usageRecord(systemIds.uuidv7(), nowMs, { orgId: "default", projectId: "default" });
  const key = await life(async ({ runtime, adminKey }) => {
    const completeUntil = timestampFromMs(nowMs);
    const usage = runtime.mesh.client(UsageService);
    await usage.recordUsage({ nodeId: runtime.nodeId, records: [bytesOf(record)], completeUntil }, withCallOptions({}));
    return adminKey?.key ?? "";
  });
  expect(lines).toContain("the ledger has new partitions");
  lines = "";
  await life(async ({ runtime }) => {
    const admin = await runtime.identity.authenticate(key, "192.0.2.1");
    if (admin instanceof WeirError) throw admin;
    const caller = withCallOptions({ principal: admin });
    const usage = runtime.mesh.client(UsageService);
    const { records } = await usage.listUsageRecords({}, caller);
    expect(records).toMatchObject([{ requestId: record.requestId }]);
    const query = { startTime: timestampFromMs(nowMs - 1), endTime: timestampFromMs(nowMs + 1) };
    const { rows, completeUntil } = await usage.queryOrgUsage({ query }, caller);
    expect(rows).toMatchObject([{ requests: 1n, promptTokens: 120n }]);
    // What the node said last was kept when the process stopped.
    expect(completeUntil).toEqual(timestampFromMs(nowMs));
    // A report may take longer than other queries.
    const { report } = await database
      .kysely()
      .transaction()
      .execute(async (lock) => {
        await sql`lock table usage.nodes in access exclusive mode`.execute(lock);
        const asked = usage.queryOrgUsage({ query }, caller);
        await sql`select pg_sleep(2.5)`.execute(lock);
        return { report: asked };
      });
    expect(await report).toMatchObject({ rows: [{ requests: 1n }] });
  });
  expect(lines).not.toContain("new partitions");
  expect(lines).not.toMatch(/"level":"(warn|error)"/);
});

test("a process starts, and takes records, while somebody reads what is to be dropped", async () => {
  const send = ({ runtime }: Assembled, id: string, ms: number) =>
    runtime.mesh
      .client(UsageService)
      .recordUsage(
        { nodeId: "node", records: [bytesOf(usageRecord(id, ms))], completeUntil: timestampFromMs(1) },
        withCallOptions({}),
      );
  const nowMs = systemClock.nowMs();
  await life((process) => send(process, systemIds.uuidv7(), nowMs));
  await sql`create table usage.records_2020_01 (like usage.records)`.execute(database.kysely());
  await sql`
    alter table usage.records attach partition usage.records_2020_01
    for values from ('016f5e66-e800-0000-0000-000000000000') to ('016ffe0c-0c00-0000-0000-000000000000')`.execute(
    database.kysely(),
  );
  await database
    .kysely()
    .transaction()
    .execute(async (dump) => {
      await sql`lock table usage.records in access share mode`.execute(dump);
      const { quarantined } = await life((process) => send(process, systemIds.uuidv7(), nowMs));
      expect(quarantined).toEqual([]);
    });
  expect(lines).toContain("could not keep the ledger's house");
  lines = "";
  await life(async () => undefined);
  expect(lines).toContain("2020_01");
});
