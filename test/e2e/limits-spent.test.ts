import { create, fromJson, type JsonValue, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CreateKeyResponseSchema } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { Dimension, type LimitSpecSchema, type LimitStatus, SubjectKind } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import {
  CreateLimitRequestSchema,
  CreateLimitResponseSchema,
  GetLimitStatusResponseSchema,
} from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import { type Installation, shapes, startInstallation } from "../fakes/installation.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";

/** Waits until what is asked for is so. */
async function become(what: string, holds: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not so in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const hourSeconds = 3_600n;
/** Long enough that nothing that begins together ends before all have begun. */
const slowPrefillMs = 900;

interface Told {
  readonly status: number;
  readonly headers: Headers;
  readonly body: { readonly error?: { readonly type: string; readonly code: string; readonly message: string } };
}

describe.each(shapes)("limits, in %s", (shape) => {
  let engine: SimulatorProcess;
  let slow: SimulatorProcess;
  let paced: SimulatorProcess;
  let weir: Installation;

  beforeAll(async () => {
    [engine, slow, paced] = await Promise.all([
      startSimulatorProcess(["--decode-ms", "0", "--prefill-ms", "0"]),
      startSimulatorProcess(["--decode-ms", "0", "--prefill-ms", String(slowPrefillMs)]),
      startSimulatorProcess(["--decode-ms", "3", "--prefill-ms", "0"]),
    ]);
    weir = await startInstallation(shape, {
      yaml: [
        "pools:",
        `  - { id: quick, replicas: [{ url: "${engine.httpUrl}" }] }`,
        `  - { id: slow, replicas: [{ url: "${slow.httpUrl}" }] }`,
        `  - { id: paced, replicas: [{ url: "${paced.httpUrl}" }] }`,
        "models:",
        "  - { id: quick, pool: quick, engine_model: weir-sim }",
        "  - { id: slow, pool: slow, engine_model: weir-sim }",
        "  - { id: paced, pool: paced, engine_model: weir-sim }",
      ].join("\n"),
    });
  }, 120_000);

  afterAll(async () => {
    await weir?.[Symbol.asyncDispose]();
    await Promise.all([engine?.[Symbol.asyncDispose](), slow?.[Symbol.asyncDispose](), paced?.[Symbol.asyncDispose]()]);
  });

  const rpc = async (method: string, body: JsonValue): Promise<JsonValue> => {
    const response = await fetch(`${weir.control.url}/${method}`, {
      method: "POST",
      headers: { authorization: `Bearer ${weir.key}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(text);
    return JSON.parse(text);
  };

  /** A key of its own for a test, with one limit on it. */
  async function limited(spec: Omit<MessageInitShape<typeof LimitSpecSchema>, "name" | "subject" | "$typeName">) {
    const made = await rpc("weir.auth.v1.KeyService/CreateKey", { requestId: crypto.randomUUID(), name: "limited" });
    const { key, secret } = fromJson(CreateKeyResponseSchema, made);
    const subject = { kind: SubjectKind.KEY, id: key?.id ?? "" };
    const request = create(CreateLimitRequestSchema, {
      requestId: crypto.randomUUID(),
      spec: { name: "of the key", subject, ...spec } as MessageInitShape<typeof LimitSpecSchema>,
    });
    const { limit } = fromJson(
      CreateLimitResponseSchema,
      await rpc("weir.quota.v1.LimitService/CreateLimit", toJson(CreateLimitRequestSchema, request)),
    );
    const keyId = key?.id ?? "";
    return { secret, keyId, limitId: limit?.id ?? "" };
  }

  async function statusOf({ keyId, limitId }: { keyId: string; limitId: string }): Promise<LimitStatus | undefined> {
    const { limits } = fromJson(
      GetLimitStatusResponseSchema,
      await rpc("weir.quota.v1.LimitService/GetLimitStatus", { keyId }),
    );
    return limits.find(({ limit }) => limit?.id === limitId);
  }

  async function ask(secret: string, model: string, more: object = {}): Promise<Told> {
    const response = await fetch(`${weir.gateway.url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
      body: JSON.stringify({ model, messages: [{ role: "user", content: "Hello." }], max_tokens: 4, ...more }),
    });
    return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) };
  }

  const hourly = { case: "rate" as const, value: { per: { seconds: hourSeconds } } };
  const together = (count: number, run: () => Promise<Told>) =>
    Promise.all(Array.from({ length: count }, async () => await run()));
  const granted = (all: readonly Told[]) => all.filter(({ status }) => status === 200).length;

  test("200 requests at once against a limit of 100 requests: exactly 100 are admitted", async () => {
    const mine = await limited({
      dimension: Dimension.REQUESTS,
      ceiling: { case: "count", value: 100n },
      window: hourly,
    });
    const all = await together(200, () => ask(mine.secret, "quick"));
    expect(granted(all)).toBe(100);
    const refused = all.filter(({ status }) => status !== 200);
    for (const { status, body, headers } of refused) {
      expect({ status, type: body.error?.type, code: body.error?.code }).toEqual({
        status: 429,
        type: "requests",
        code: "rate_limit_exceeded",
      });
      expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
      expect(headers.get("x-ratelimit-limit-requests")).toBe("100");
      expect(headers.get("x-ratelimit-remaining-requests")).toBe("0");
    }
    await become("every request is counted once", async () => (await statusOf(mine))?.used === 100n);
  }, 60_000);

  test("requests at once beyond a limit on those are refused, exactly", async () => {
    const mine = await limited({
      dimension: Dimension.CONCURRENT_REQUESTS,
      ceiling: { case: "count", value: 20n },
    });
    const all = await together(60, () => ask(mine.secret, "slow"));
    expect(granted(all)).toBe(20);
    await become("all places are free again", async () => (await statusOf(mine))?.remaining === 20n);
    expect(granted(await together(20, () => ask(mine.secret, "slow")))).toBe(20);
  }, 60_000);

  test("who sends one request after the other at a concurrency of 1 is never refused, however they end", async () => {
    const mine = await limited({ dimension: Dimension.CONCURRENT_REQUESTS, ceiling: { case: "count", value: 1n } });
    const ways = ["Hello.", "[[sim reject]]", "[[sim cut after=1]]", "Hello."];
    for (let i = 0; i < 200; i++) {
      const content = ways[i % ways.length] ?? "";
      const { status } = await ask(mine.secret, i % 7 === 6 ? "none" : "quick", {
        messages: [{ role: "user", content }],
      });
      expect({ i, status }).not.toMatchObject({ status: 429 });
    }
  }, 60_000);

  test("tokens that are set aside never exceed the limit, with and without max_tokens, also of a small one", async () => {
    for (const stated of [{ max_tokens: 50 }, { max_tokens: undefined }]) {
      const mine = await limited({
        dimension: Dimension.TOTAL_TOKENS,
        ceiling: { case: "count", value: 500n },
        window: hourly,
      });
      let most = 0n;
      let running = true;
      const watching = (async () => {
        while (running) {
          const status = await statusOf(mine);
          const taken = status ? status.used + status.reserved + status.leased : 0n;
          if (taken > most) most = taken;
        }
      })();
      const all = await together(40, () => ask(mine.secret, "slow", stated));
      running = false;
      await watching;
      expect(granted(all)).toBeGreaterThan(0);
      expect(granted(all)).toBeLessThan(40);
      for (const { status, body } of all) if (status !== 200) expect(body.error?.type).toBe("tokens");
      expect(most).toBeGreaterThan(0n);
      expect(most).toBeLessThanOrEqual(500n);
    }
  }, 60_000);

  test("what could never fit is refused for good", async () => {
    const mine = await limited({
      dimension: Dimension.TOTAL_TOKENS,
      ceiling: { case: "count", value: 100n },
      window: hourly,
    });
    const { status, headers } = await ask(mine.secret, "quick", { max_tokens: 1_000 });
    expect({ status, retry: headers.get("x-should-retry"), after: headers.get("retry-after") }).toEqual({
      status: 429,
      retry: "false",
      after: null,
    });
  });

  test("a budget that is used up cuts what runs, then refuses without a time to come back", async () => {
    const mine = await limited({
      dimension: Dimension.OUTPUT_TOKENS,
      ceiling: { case: "count", value: 600n },
      window: { case: "budget", value: { period: 1 } },
    });
    const first = await ask(mine.secret, "paced", {
      max_tokens: undefined,
      messages: [{ role: "user", content: "[[sim length=2000]]" }],
    });
    expect(first).toMatchObject({ status: 200, body: { choices: [{ finish_reason: "length" }] } });
    // The next slice did not fit, nor does what needs more than what is left.
    await become("it is settled", async () => (await statusOf(mine))?.used === 512n);
    const second = await ask(mine.secret, "quick", { max_tokens: 200 });
    expect(second.body.error).toMatchObject({ type: "insufficient_quota", code: "insufficient_quota" });
    expect(second.headers.get("x-should-retry")).toBe("false");
    expect(second.headers.get("retry-after")).toBeNull();
  }, 60_000);

  test("answers tell what the limits have left", async () => {
    const mine = await limited({
      dimension: Dimension.REQUESTS,
      ceiling: { case: "count", value: 1_000n },
      window: hourly,
    });
    const { headers } = await ask(mine.secret, "quick");
    expect(headers.get("x-ratelimit-limit-requests")).toBe("1000");
    expect(Number(headers.get("x-ratelimit-remaining-requests"))).toBe(999);
    expect(headers.get("x-ratelimit-reset-requests")).toMatch(/^(\d+h)?(\d+m)?[\d.]+m?s$/);
  });
});
