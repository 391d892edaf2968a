import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Dimension } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { type Installation, startInstallation } from "../fakes/installation.ts";
import {
  askGateway,
  become,
  granted,
  type KeyLimitSpec,
  limitedKey,
  limitKey,
  limitStatus,
  type Told,
  together,
} from "../fakes/limited-keys.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { rpcCounts } from "../fakes/rpc-counts.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import type { WeirProcess } from "../fakes/weir-process.ts";

/** Of each of the prompt's tokens: long enough that nothing that begins together ends before all have begun. */
const slowPrefillMs = 700;
/** Warm requests in a row; `WARM_REQUESTS=20000` for the long form. */
const warmRequests = Number(process.env["WARM_REQUESTS"] ?? 500);

const daily = { case: "rate" as const, value: { per: { seconds: 86_400n } } };
const requestsADay = (count: bigint): KeyLimitSpec => ({
  dimension: Dimension.REQUESTS,
  ceiling: { case: "count", value: count },
  window: daily,
});

describe("two gateways over one quota service", () => {
  let quick: SimulatorProcess;
  let slow: SimulatorProcess;
  let slowTail: RecordTail;
  let weir: Installation;
  let gateways: readonly WeirProcess[];

  beforeAll(async () => {
    [quick, slow] = await Promise.all([
      startSimulatorProcess(["--decode-ms", "0", "--prefill-ms", "0"]),
      startSimulatorProcess(["--decode-ms", "0", "--prefill-ms", String(slowPrefillMs), "--slots", "256"]),
    ]);
    slowTail = new RecordTail(slow.recordPath);
    weir = await startInstallation("two processes", {
      yaml: [
        "pools:",
        `  - { id: quick, replicas: [{ url: "${quick.httpUrl}" }] }`,
        `  - { id: slow, replicas: [{ url: "${slow.httpUrl}" }] }`,
        "models:",
        "  - { id: quick, pool: quick, engine_model: weir-sim }",
        "  - { id: slow, pool: slow, engine_model: weir-sim }",
      ].join("\n"),
    });
    gateways = [weir.gateway, await weir.addGateway()];
  }, 120_000);

  afterAll(async () => {
    await weir?.[Symbol.asyncDispose]();
    slowTail?.[Symbol.dispose]();
    await Promise.all([quick?.[Symbol.asyncDispose](), slow?.[Symbol.asyncDispose]()]);
  });

  const ask = (gateway: number, secret: string, model: string): Promise<Told> =>
    askGateway(gateways[gateway % gateways.length]?.url ?? "", secret, { model });

  test("200 requests at once, split over both, against a limit of 100: exactly 100 are admitted", async () => {
    const mine = await limitedKey(weir, requestsADay(100n));
    const all = await together(200, (i) => ask(i, mine.secret, "quick"));
    expect(granted(all)).toBe(100);
    for (const { status, body } of all) if (status !== 200) expect(body.error?.type).toBe("requests");
    await become("every request is counted once", async () => (await limitStatus(weir, mine)).used === 100n);
  }, 60_000);

  test("the same with both warm, each with a lease", async () => {
    const mine = await limitedKey(weir, requestsADay(100n));
    for (let i = 0; i < 8; i++) expect((await ask(i, mine.secret, "quick")).status).toBe(200);
    expect((await limitStatus(weir, mine)).leased).toBeGreaterThan(0n);
    const all = await together(200, (i) => ask(i, mine.secret, "quick"));
    expect(granted(all)).toBe(92);
  }, 60_000);

  test.each([3, 20])(
    "never more than %d requests at once over both, by the engine's own record",
    async (most) => {
      const mine = await limitedKey(weir, {
        dimension: Dimension.CONCURRENT_REQUESTS,
        ceiling: { case: "count", value: BigInt(most) },
      });
      const before = slowTail.read().length;
      for (let round = 0; round < 2; round++) {
        expect(granted(await together(most * 3, (i) => ask(i, mine.secret, "slow")))).toBe(most);
        await become("all places are free", async () => (await limitStatus(weir, mine)).remaining === BigInt(most));
      }
      const traced = slowTail.read().slice(before);
      expect(traced).toHaveLength(2 * most);
      const moments = traced.map(({ at }) => ({ from: at.get("received") ?? 0, to: at.get("finished") ?? 0 }));
      for (const { from } of moments) {
        expect(moments.filter((other) => other.from <= from && from < other.to).length).toBeLessThanOrEqual(most);
      }
    },
    60_000,
  );

  test("what lies idle in a lease of one is called back for the other", async () => {
    const mine = await limitedKey(weir, requestsADay(60n));
    // A consumer that asks for much is lent much.
    expect(granted(await together(10, () => ask(0, mine.secret, "quick")))).toBe(10);
    const { leased, remaining } = await limitStatus(weir, mine);
    expect(leased).toBeGreaterThan(0n);
    const all = await together(70, () => ask(1, mine.secret, "quick"));
    expect(granted(all)).toBe(50);
    expect(granted(all)).toBeGreaterThan(Number(remaining));
  }, 60_000);

  test("a warm request makes no call to the control plane", async () => {
    const mine = await limitedKey(weir, requestsADay(1_000_000n));
    const more: KeyLimitSpec[] = [
      { dimension: Dimension.TOTAL_TOKENS, ceiling: { case: "count", value: 1_000_000_000n }, window: daily },
      { dimension: Dimension.CONCURRENT_REQUESTS, ceiling: { case: "count", value: 1_000n } },
    ];
    for (const spec of more) await limitKey(weir, mine.keyId, spec);
    for (let i = 0; i < 50; i++) await ask(0, mine.secret, "quick");
    const before = await rpcCounts(weir.control);
    const leasedBefore = await leasedChecks(weir.gateway);
    const startedMs = performance.now();
    for (let i = 0; i < warmRequests; i++) {
      const { status, headers } = await ask(0, mine.secret, "quick");
      expect(status).toBe(200);
      expect(headers.get("x-ratelimit-limit-requests")).toBe("1000000");
    }
    const lastedMs = performance.now() - startedMs;
    const after = await rpcCounts(weir.control);
    const made = new Map([...after].map(([method, count]) => [method, count - (before.get(method) ?? 0)]));
    const of = (method: string) => made.get(method) ?? 0;
    for (const method of ["Reserve", "Extend", "Settle", "Release"]) {
      expect([method, of(`weir.quota.v1.QuotaService/${method}`)]).toEqual([method, 0]);
    }
    expect(of("weir.auth.v1.AuthService/Authenticate")).toBe(0);
    // What was used is told in batches, by the clock.
    const usage = of("weir.usage.v1.UsageService/RecordUsage");
    expect(usage).toBeLessThanOrEqual(10 + lastedMs / 100);
    const all = [...made.values()].reduce((sum, count) => sum + count, 0);
    expect((all - usage) / warmRequests).toBeLessThan(0.05);
    // The gateway says so of itself.
    expect((await leasedChecks(weir.gateway)) - leasedBefore).toBe(warmRequests);
  }, 600_000);
});

/** Requests whose limits a gateway has checked by its leases alone. */
async function leasedChecks({ adminUrl }: WeirProcess): Promise<number> {
  const text = await (await fetch(`${adminUrl}/metrics`)).text();
  return Number(/^weir_quota_checks_total\{by="leased"\} (\d+)$/m.exec(text)?.[1] ?? Number.NaN);
}
