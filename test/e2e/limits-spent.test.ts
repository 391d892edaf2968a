import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Dimension } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { type Installation, shapes, startInstallation } from "../fakes/installation.ts";
import {
  askGateway,
  become,
  granted,
  type KeyLimitSpec,
  type LimitedKey,
  limitedKey,
  limitStatus,
  together,
} from "../fakes/limited-keys.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { clientOf } from "./openai-scenarios.ts";

const hourSeconds = 3_600n;
/** Long enough that nothing that begins together ends before all have begun. */
const slowPrefillMs = 900;

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

  const limited = (spec: KeyLimitSpec) => limitedKey(weir, spec);
  const statusOf = (mine: LimitedKey) => limitStatus(weir, mine);
  const ask = (secret: string, model: string, more: object = {}) =>
    askGateway(weir.gateway.url, secret, { model, ...more });
  const hourly = { case: "rate" as const, value: { per: { seconds: hourSeconds } } };

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
    await become("every request is counted once", async () => (await statusOf(mine)).used === 100n);
  }, 60_000);

  test("requests at once beyond a limit on those are refused, exactly", async () => {
    const mine = await limited({
      dimension: Dimension.CONCURRENT_REQUESTS,
      ceiling: { case: "count", value: 20n },
    });
    const all = await together(60, () => ask(mine.secret, "slow"));
    expect(granted(all)).toBe(20);
    await become("all places are free again", async () => (await statusOf(mine)).remaining === 20n);
    expect(granted(await together(20, () => ask(mine.secret, "slow")))).toBe(20);
  }, 60_000);

  test("who sends one request after the other at a concurrency of 1 is never refused, however they end", async () => {
    const mine = await limited({ dimension: Dimension.CONCURRENT_REQUESTS, ceiling: { case: "count", value: 1n } });
    const ways = ["Hello.", "[[sim reject]]", "[[sim cut after=1]]", "Hello."];
    for (let i = 0; i < 200; i++) {
      const content = ways[i % ways.length] ?? "";
      const { status } = await ask(mine.secret, i % 7 === 6 ? "none" : "quick", {
        // Each its own: the same one is not sent to engines that went away with it again and again.
        messages: [{ role: "user", content: `${content} ${i}` }],
      });
      expect({ i, status }).not.toMatchObject({ status: 429 });
    }
  }, 60_000);

  test.each([
    { places: 1n, model: "quick", prompts: 20 },
    { places: 3n, model: "slow", prompts: 5 },
  ])(
    "the $prompts prompts of one request take turns at $places places of $model",
    async ({ places, model, prompts }) => {
      const mine = await limited({
        dimension: Dimension.CONCURRENT_REQUESTS,
        ceiling: { case: "count", value: places },
      });
      const client = clientOf({ url: weir.gateway.url, apiKey: mine.secret, model });
      const prompt = Array.from({ length: prompts }, (_, index) => `Prompt ${index}.`);
      const { choices } = await client.completions.create({ model, prompt, max_tokens: 4 });
      expect(choices.map(({ index }) => index)).toEqual(prompt.map((_, index) => index));
      await become("all places are free again", async () => (await statusOf(mine)).remaining === places);
    },
  );

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
          const taken = status.used + status.reserved + status.leased;
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
    await become("it is settled, to the last token", async () => (await statusOf(mine)).used === 600n);
    const second = await ask(mine.secret, "quick", { max_tokens: 200 });
    expect(second.body.error).toMatchObject({ type: "insufficient_quota", code: "insufficient_quota" });
    expect(second.headers.get("x-should-retry")).toBe("false");
    expect(second.headers.get("retry-after")).toBeNull();
  }, 60_000);

  test("the official client sees a rate limit, with headers, and waits as long as it is told", async () => {
    const mine = await limited({
      dimension: Dimension.REQUESTS,
      ceiling: { case: "count", value: 2n },
      window: { case: "rate", value: { per: { seconds: 4n } } },
    });
    const client = clientOf({ url: weir.gateway.url, apiKey: mine.secret, model: "quick" });
    const create = (of: OpenAI) =>
      of.chat.completions.create({ model: "quick", messages: [{ role: "user", content: "Hello." }], max_tokens: 4 });
    for (let i = 0; i < 2; i++) await create(client);
    const error: unknown = await create(client).catch((thrown: unknown) => thrown);
    if (!(error instanceof OpenAI.RateLimitError)) throw new Error("it was no rate limit", { cause: error });
    expect(error).toMatchObject({ status: 429, code: "rate_limit_exceeded", type: "requests" });
    expect(error.headers.get("x-ratelimit-limit-requests")).toBe("2");
    expect(error.headers.get("x-ratelimit-remaining-requests")).toBe("0");
    const afterMs = Number(error.headers.get("retry-after-ms"));
    expect(afterMs).toBeGreaterThan(0);
    expect(afterMs).toBeLessThanOrEqual(2_000);
    expect(Number(error.headers.get("retry-after"))).toBe(Math.ceil(afterMs / 1_000));
    // A second try is enough, for it comes when the limit has room.
    expect((await create(client.withOptions({ maxRetries: 1 }))).object).toBe("chat.completion");
  }, 30_000);

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
