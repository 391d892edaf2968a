import { randomUUID } from "node:crypto";
import { fromJson } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Operation } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { CreateLimitRequestSchema } from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import type { WatchLeasesResponse } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { withStream } from "../../services/runtime/mesh/with-stream.ts";
import { specJson } from "../fakes/limits.ts";
import { principal } from "./auth-harness.ts";
import { type QuotaHarness, startQuota } from "./quota-harness.ts";

let harness: QuotaHarness;

beforeAll(async () => {
  harness = await startQuota();
});
afterAll(() => harness[Symbol.asyncDispose]());

const asAdmin = withCallOptions({ principal: principal() });
const asked = {
  consumer: { orgId: "acme", projectId: "acme-one", keyId: "key1", userId: "" },
  model: "m",
  operation: Operation.GENERATE,
};

interface Watching {
  readonly heard: readonly WatchLeasesResponse[];
  /** Settles when the stream has ended, with what was heard. */
  readonly ended: Promise<void>;
  stop(): void;
  until(holds: (heard: readonly WatchLeasesResponse[]) => boolean): Promise<void>;
}

function watch(nodeId: string): Watching {
  const heard: WatchLeasesResponse[] = [];
  const stop = new AbortController();
  let wake = () => {};
  const ended = withStream(
    stop.signal,
    (signal) => harness.quota.watchLeases({ nodeId }, { signal }),
    async (messages) => {
      for await (const message of messages) {
        heard.push(message);
        wake();
      }
    },
  );
  return {
    heard,
    ended,
    stop: () => stop.abort(),
    async until(holds) {
      while (!holds(heard)) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}

const casesOf = (heard: readonly WatchLeasesResponse[]) => heard.map(({ event }) => event.case);

async function limitOf(count: string) {
  const spec = specJson({ count, rate: { per: "86400s" } });
  const request = fromJson(CreateLimitRequestSchema, { requestId: randomUUID(), spec });
  const { limit } = await harness.limits.createLimit(request, asAdmin);
  if (!limit) throw new Error("no limit");
  return limit;
}

const leaseOf = async (nodeId: string, requestsWanted: bigint) =>
  (await harness.quota.lease({ requestId: randomUUID(), nodeId, ...asked, wanted: {}, requestsWanted })).leases;

test("a node hears of its leases, of changed limits within 2 s, wherever they are written, and beats", async () => {
  const limit = await limitOf("100000");
  const [lease] = await leaseOf("n1", 10n);
  expect(lease?.limit?.id).toBe(limit.id);
  const watching = watch("n1");
  await watching.until((heard) => casesOf(heard).includes("snapshotEnd"));
  expect(watching.heard[0]).toMatchObject({
    revision: limit.revision,
    event: { value: { id: lease?.id, nodeId: "n1" } },
  });
  const startMs = performance.now();
  await watching.until((heard) => casesOf(heard).filter((one) => one === "heartbeat").length >= 3);
  expect(performance.now() - startMs).toBeLessThan(2_000);
  const writtenMs = performance.now();
  await harness.elsewhere.delete("acme", limit.id, () => {});
  await watching.until((heard) => casesOf(heard).includes("limitChange"));
  expect(performance.now() - writtenMs).toBeLessThan(2_000);
  const change = watching.heard.find(({ event }) => event.case === "limitChange");
  expect(change).toMatchObject({
    revision: limit.revision + 1n,
    event: { value: { limitId: limit.id, deleted: true } },
  });
  watching.stop();
  await watching.ended.catch(() => {});
});

test("a change that this process writes is heard before its answer is", async () => {
  const watching = watch("n3");
  await watching.until((heard) => casesOf(heard).includes("snapshotEnd"));
  const limit = await limitOf("7");
  await watching.until((heard) => casesOf(heard).includes("limitChange"));
  const { revision } = watching.heard.find(({ event }) => event.case === "limitChange") ?? {};
  expect(revision).toBe(limit.revision);
  await harness.limits.deleteLimit({ limitId: limit.id }, asAdmin);
  watching.stop();
  await watching.ended.catch(() => {});
});

test("one stream a node: a newer one ends the older", async () => {
  const older = watch("n4");
  await older.until((heard) => casesOf(heard).includes("snapshotEnd"));
  const newer = watch("n4");
  await expect(older.ended).resolves.toBeUndefined();
  await newer.until((heard) => casesOf(heard).includes("heartbeat"));
  newer.stop();
  await newer.ended.catch(() => {});
});

test("a lease that another node needs is recalled, and what is given up is the other's", async () => {
  const limit = await limitOf("40");
  const [lease] = await leaseOf("n5", 100n);
  if (!lease) throw new Error("no lease");
  const held = lease.amount;
  const watching = watch("n5");
  await watching.until((heard) => casesOf(heard).includes("snapshotEnd"));
  const reserve = () =>
    harness.quota.reserve({ requestId: randomUUID(), nodeId: "n6", ...asked, estimate: {}, least: {} });
  for (let left = 40n - held; left > 0n; left -= 1n) expect((await reserve()).outcome.case).toBe("granted");
  const waiting = reserve();
  await watching.until((heard) => casesOf(heard).includes("recall"));
  const recall = watching.heard.find(({ event }) => event.case === "recall");
  expect(recall?.event.value).toMatchObject({ leaseId: lease.id });
  const report = { leaseId: lease.id, spent: 1n, reserved: 0n, amount: 1n, sequence: 1n };
  await harness.quota.returnLease({ nodeId: "n5", reports: [report] });
  expect((await waiting).outcome.case).toBe("granted");
  await harness.limits.deleteLimit({ limitId: limit.id }, asAdmin);
  watching.stop();
  await watching.ended.catch(() => {});
});
