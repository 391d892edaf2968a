import { randomUUID } from "node:crypto";
import { fromJson } from "@bufbuild/protobuf";
import { sql } from "kysely";
import { expect, test } from "vitest";
import { Operation } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { CreateLimitRequestSchema, UpdateLimitRequestSchema } from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import type { QuotaTables } from "../../services/quota/store-postgres-limits.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { withStream } from "../../services/runtime/mesh/with-stream.ts";
import { specJson } from "../fakes/limits.ts";
import { principal } from "./auth-harness.ts";
import { startQuota } from "./quota-harness.ts";

const asAdmin = withCallOptions({ principal: principal() });
const asked = {
  consumer: { orgId: "acme", projectId: "acme-one", keyId: "key1", userId: "" },
  model: "m",
  operation: Operation.GENERATE,
};

test("limits that are restored from an older copy count as they are there", async () => {
  await using harness = await startQuota();
  const db = harness.auth.database.kysely<QuotaTables>();
  const reserve = async () => {
    const request = { requestId: randomUUID(), nodeId: "n1", ...asked, estimate: {}, least: {} };
    return (await harness.quota.reserve(request)).outcome.case;
  };
  const spec = specJson({ count: "1", rate: { per: "86400s" } });
  const { limit } = await harness.limits.createLimit(
    fromJson(CreateLimitRequestSchema, { requestId: randomUUID(), spec }),
    asAdmin,
  );
  if (!limit) throw new Error("no limit");
  await sql`create table quota.limits_copy as table quota.limits`.execute(db);
  const raised = { limitId: limit.id, updateMask: "count", count: "100" };
  await harness.limits.updateLimit(fromJson(UpdateLimitRequestSchema, raised), asAdmin);
  expect([await reserve(), await reserve()]).toEqual(["granted", "granted"]);

  await withStream(
    AbortSignal.timeout(10_000),
    (signal) => harness.quota.watchLeases({ nodeId: "n1" }, { signal }),
    async (messages) => {
      let isRestored = false;
      for await (const { event, revision } of messages) {
        if (event.case === "snapshotEnd") {
          await db.transaction().execute(async (trx) => {
            await sql`truncate quota.limits`.execute(trx);
            await sql`insert into quota.limits table quota.limits_copy`.execute(trx);
            await sql`update quota.state set revision = ${limit.revision}`.execute(trx);
          });
          isRestored = true;
        }
        if (isRestored && event.case === "limitChange") {
          expect(revision).toBe(limit.revision);
          break;
        }
      }
    },
  );
  expect(await reserve()).toBe("denied");
});
