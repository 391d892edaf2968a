import { create, fromJson, type JsonObject } from "@bufbuild/protobuf";
import { LeaseReportSchema } from "../../gen/ts/weir/quota/v1/lease_pb.ts";
import { type Limit, LimitSchema, LimitSpecSchema, Operation } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import {
  ExtendRequestSchema,
  LeaseRequestSchema,
  ReleaseRequestSchema,
  type ReserveRequest,
  ReserveRequestSchema,
  ReturnLeaseRequestSchema,
  SettleRequestSchema,
} from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { createMemoryQuotaStore } from "../../services/quota/store-memory.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { systemIds } from "../../services/runtime/ids.ts";

const rounds = 7;
/** Calls of each kind in a round. */
const calls = 20_480;
/** Requests that run at once. */
const running = 512;

const whose = { orgId: "acme", projectId: "search", keyId: "k1" };
const what = { consumer: whose, model: "weir-sim", operation: Operation.GENERATE };
const amounts = { inputTokens: 100n, outputTokens: 256n };
const used = { inputTokens: 100n, outputTokens: 40n };
const perMinute = { rate: { per: "60s" } };

/** Room for all that is measured, and limits of which nothing is left. */
const wide = [
  limitOf("requests", { dimension: "DIMENSION_REQUESTS", count: "1000000000", ...perMinute }),
  limitOf("tokens", { dimension: "DIMENSION_TOTAL_TOKENS", count: "1000000000000", ...perMinute }),
  limitOf("at-once", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "100000000" }),
];
const spent = [
  ...wide.slice(1),
  limitOf("few", { dimension: "DIMENSION_REQUESTS", count: "1", rate: { per: "86400s" } }),
];

/** CPU of the memory store, microseconds a call with three limits: the median of some rounds. Messages are made before. */
export async function quota(): Promise<void> {
  const store = createMemoryQuotaStore({ clock: systemClock, ids: systemIds });
  const figures: Record<string, number[]> = {};
  /** Of the round that runs. */
  const sums = new Map<string, number>();
  const measure = async <T>(name: string, messages: readonly T[], call: (message: T) => Promise<unknown>) => {
    const start = process.cpuUsage();
    for (const message of messages) await call(message);
    const { user, system } = process.cpuUsage(start);
    sums.set(name, (sums.get(name) ?? 0) + user + system);
  };
  const granted = async (request: ReserveRequest, limits: readonly Limit[]) => {
    const { outcome } = await store.reserve(limits, request);
    if (outcome.case !== "granted") throw new Error("a reservation was refused for which there is room");
  };
  await store.settle(
    spent,
    create(SettleRequestSchema, { ...what, requestId: systemIds.uuidv7(), used, sequence: 1n }),
  );

  for (let round = 0; round < rounds; round++) {
    for (let part = 0; part < calls; part += running) await requests();
    await leases(round);
    for (const [name, us] of sums) (figures[name] ??= []).push(us / calls);
    sums.clear();
  }

  /** The lives of as many requests as run at once. */
  async function requests(): Promise<void> {
    const settled = reserves(running);
    await measure("reserve", settled, (request) => granted(request, wide));
    await measure("reserve again", settled, (request) => granted(request, wide));
    const slices = settled.map(({ requestId }) =>
      create(ExtendRequestSchema, { requestId, slice: 1, more: { outputTokens: 64n }, used }),
    );
    await measure("extend", slices, (slice) => store.extend(slice));
    const truths = settled.map(({ requestId }) =>
      create(SettleRequestSchema, { ...what, requestId, used, sequence: 1n }),
    );
    await measure("settle", truths, (truth) => store.settle(wide, truth));
    await measure("reserve, refused", reserves(running), async (request) => {
      const { outcome } = await store.reserve(spent, request);
      if (outcome.case !== "denied") throw new Error("a reservation was granted for which there is no room");
    });
    const dropped = reserves(running);
    for (const request of dropped) await granted(request, wide);
    const releases = dropped.map(({ requestId }) => create(ReleaseRequestSchema, { requestId }));
    await measure("release", releases, (release) => store.release(release));
  }

  async function leases(round: number): Promise<void> {
    const nodeId = `node-${round}`;
    const wishes = Array.from({ length: calls }, () =>
      create(LeaseRequestSchema, {
        ...what,
        requestId: systemIds.uuidv7(),
        nodeId,
        wanted: { inputTokens: 10_000n, outputTokens: 25_600n },
        requestsWanted: 100n,
      }),
    );
    await measure("lease, renewed", wishes, async (wish) => {
      const { leases: lent } = await store.lease(wide, wish);
      if (lent.length !== wide.length) throw new Error("a limit that has much left was not shared");
    });
    const held = await store.leasesOf(nodeId);
    const reports = Array.from({ length: calls }, (_, at) =>
      create(ReturnLeaseRequestSchema, {
        nodeId,
        reports: held.map(({ id, amount }) =>
          create(LeaseReportSchema, { leaseId: id, spent: 0n, reserved: 1n, amount, sequence: BigInt(at + 1) }),
        ),
      }),
    );
    await measure("report of three leases", reports, (report) => store.returnLease(wide, report));
  }

  const table = Object.entries(figures).map(([name, all]) => [name, Number(median(all).toFixed(2))] as const);
  for (const [name, us] of table) console.log(`${name.padEnd(26)}${us.toFixed(2).padStart(7)} us`);
  console.log(JSON.stringify({ quotaStoreUs: Object.fromEntries(table) }));
}

function limitOf(id: string, spec: JsonObject): Limit {
  const subject = { kind: "SUBJECT_KIND_INSTALLATION" };
  return create(LimitSchema, { id, revision: 1n, spec: fromJson(LimitSpecSchema, { name: id, subject, ...spec }) });
}

function reserves(count: number): ReserveRequest[] {
  return Array.from({ length: count }, () =>
    create(ReserveRequestSchema, {
      ...what,
      requestId: systemIds.uuidv7(),
      nodeId: "node",
      estimate: amounts,
      least: { inputTokens: 100n },
    }),
  );
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
