import { durationMs } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EndReason, type UsageRecord } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { lostRecord } from "../../services/router/usage/lost.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { systemIds } from "../../services/runtime/ids.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { migrations } from "../../services/usage/migrations/migrations.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { seededRandom } from "../fakes/seeded-random.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import { bytesOf } from "../fakes/usage-records.ts";
import { JournalFolder, UsageWorld } from "../fakes/usage-world.ts";
import { startUsage, type UsageHarness } from "../rpc/usage-harness.ts";
import { ledgerReader } from "./campaign/ledger-dump.ts";

// The clock of a router's machine jumps by an hour, forwards and back, while requests run, end and are shipped; and it
// stands an hour behind when the router starts again after a kill. The ledger's clock goes right.

const hourMs = 3_600_000;
const requests = 120;
const retentionMs = 60 * 24 * hourMs;

let database: TestDatabase;
let ledger: UsageHarness;
beforeAll(async () => {
  database = await createTestDatabase({ migrations: { usage: migrations } });
  ledger = startUsage(database.kysely(), { clock: systemClock, retentionMs });
});
afterAll(async () => {
  await ledger?.[Symbol.asyncDispose]();
  await database?.[Symbol.asyncDispose]();
});

/** Ships all that is there, every batch twice: the answer to the first was lost. */
async function ship(world: UsageWorld): Promise<readonly UsageRecord[]> {
  const records = await world.ship();
  for (let times = 0; times < 2; times++) {
    const options = withCallOptions({ trusted: true });
    await ledger.usage.recordUsage({ nodeId: "node-1", records: records.map(bytesOf) }, options);
  }
  return records;
}

test("an hour forwards or back, again and again: each request is counted once, to the token, with its real duration", async () => {
  using folder = new JournalFolder();
  const random = seededRandom(11);
  const clock = new SimulatedClock(Date.now());
  const told = new Map<string, { tokens: number; ranMs: number; lost: boolean }>();
  const shipped: UsageRecord[] = [];
  const jump = () => {
    // Never farther off than an hour.
    const off = random.pick([-hourMs, 0, hourMs]);
    clock.jumpWallTo(Date.now() + off);
  };
  let left: JournalFolder;
  {
    await using world = await UsageWorld.open(folder.path, { clock });
    for (let at = 0; at < requests; at++) {
      const requestId = systemIds.uuidv7();
      const { usage, meter, receive } = world.begin(requestId);
      jump();
      const tokens = 1 + random.below(9);
      for (let token = 0; token < tokens; token++) {
        if (random.next() < 0.3) jump();
        clock.advance(5);
        receive(1);
      }
      const lost = random.next() < 0.2;
      told.set(requestId, { tokens, ranMs: tokens * 5, lost });
      jump();
      if (!lost) {
        usage.tryOver(meter.counts(), 0, true);
        usage.end(undefined);
      }
      world.journal.flush();
      if (random.next() < 0.2) shipped.push(...(await ship(world)));
    }
    left = folder.copy();
  }
  using killed = left;
  clock.jumpWallTo(Date.now() - hourMs);
  await using world = await UsageWorld.open(killed.path, { clock });
  for (const { record, progress, segment } of world.former.unfinished)
    world.journal.outbox.addLost(segment, lostRecord(record, progress));
  // What was acknowledged before the kill comes again with the rest.
  shipped.push(...(await ship(world)));

  const { rows, rowSums, rollups, setAside } = await ledgerReader(database.url).dump(0);
  expect(setAside).toBe(0);
  expect(rows.map(({ requestId }) => requestId).sort()).toEqual([...told.keys()].sort());
  for (const { requestId, completionTokens, endReason, stage } of rows) {
    const { tokens, lost } = told.get(requestId) ?? {};
    const expected = [requestId, tokens, lost ? EndReason.LOST : EndReason.COMPLETED, 4];
    expect([requestId, completionTokens, endReason, stage]).toEqual(expected);
  }
  const sorted = (sums: typeof rollups) => sums.toSorted((a, b) => (a.of < b.of ? -1 : 1));
  expect(sorted(rollups)).toEqual(sorted(rowSums));
  for (const { requestId, duration } of shipped)
    expect([requestId, duration && durationMs(duration)]).toEqual([requestId, told.get(requestId)?.ranMs]);
  expect([...told.values()].filter(({ lost }) => lost).length).toBeGreaterThan(5);
}, 60_000);
