import { afterAll, describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import { connectionTo } from "../../services/drivers/http/connection.ts";
import { postJson } from "../../services/drivers/http/post.ts";
import { requestWithBody } from "../../services/drivers/http1/request.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { messageStart, named, startFakeAnthropic, textBlock } from "../fakes/fake-anthropic.ts";
import type { FakeHttp, FakeHttpOptions } from "../fakes/fake-http.ts";
import { chatChunk, type FakeExchange, startFakeOpenAi } from "../fakes/fake-openai.ts";
import { lastEvent, startFakeTgi } from "../fakes/fake-tgi.ts";
import { attemptAt, type Outcome, run, start, targetAt } from "./attempts.ts";
import { calm, embedAttempt, failureOf } from "./unary-calls.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const dayMs = 86_400_000;
const input = {
  case: "conversation" as const,
  value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "hi" } }] }] },
};

type Generate = NonNullable<FakeHttpOptions["generate"]>;

const servers = {
  OPENAI: (generate: Generate) => startFakeOpenAi({ generate }),
  ANTHROPIC: (generate: Generate) => startFakeAnthropic({ generate }),
  TGI: (generate: Generate) => startFakeTgi({ generate }),
} satisfies Partial<Record<keyof typeof Dialect, (generate: Generate) => Promise<FakeHttp>>>;

type Spoken = keyof typeof servers;

async function serve(spoken: Spoken, generate: Generate) {
  const engine = cleanup.use(await servers[spoken](generate));
  const driver = cleanup.use(openDriver(Dialect[spoken], targetAt(engine.url, { idleMs: 3_000, firstEventMs: 3_000 })));
  const [model] = (await driver.probe(AbortSignal.timeout(5_000))).models;
  if (!model) throw new Error("the fake has no model");
  return { driver, engine, attempt: (request = {}) => attemptAt(model, { input, ...request }) };
}

/** What becomes of an answer while another stream of the same server lives on. */
async function besideAnother(generate: Generate): Promise<Outcome> {
  let bystander: FakeExchange | undefined;
  const { driver, attempt } = await serve("OPENAI", (exchange) => {
    if (bystander) return generate(exchange);
    bystander = exchange;
    exchange.startStream();
    exchange.event(chatChunk({ content: "still" }));
  });
  const beside = start(driver, attempt()).outcome;
  await beside.until(() => beside.deltas.length > 0);
  const outcome = await run(driver, attempt());
  bystander?.event(chatChunk({ content: " here" }, "stop"));
  bystander?.done();
  await beside.done;
  expect([beside.text(), beside.reason, outcome.late]).toEqual(["still here", undefined, 0]);
  return outcome;
}

const answer =
  (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Generate =>
  ({ response }) =>
    void response
      .writeHead(status, { "content-type": "application/json", ...headers })
      .end(typeof body === "string" ? body : JSON.stringify(body));
const stream =
  (...events: string[]): Generate =>
  (exchange) => {
    exchange.startStream();
    exchange.response.end(events.join(""));
  };
const choice = (more: object) => ({
  choices: [{ index: 0, message: { content: "hi" }, finish_reason: "stop", ...more }],
});
/** Nothing makes a text or a number of it. */
const poison = { toString: 1, valueOf: 1 };
const deep = '{"a":'.repeat(50_000) + "1" + "}".repeat(50_000);
const withArguments = (json: string) =>
  JSON.stringify(
    choice({ message: { tool_calls: [{ id: "1", function: { name: "f", arguments: "ARGUMENTS" } }] } }),
  ).replace('"ARGUMENTS"', json);

describe("an answer that nobody expects ends nothing but itself", () => {
  test.each<[string, Generate, string | undefined]>([
    ["an error whose code is no code", answer(500, { error: { message: "x", code: poison } }), "ENGINE_FAILED"],
    ["an error at no place", answer(422, { detail: [{ loc: [poison, "a"], msg: "bad" }] }), "ENGINE_REFUSED"],
    [
      "log probabilities whose bytes are none",
      answer(200, choice({ logprobs: { content: [{ token: "hi", bytes: [poison] }] } })),
      undefined,
    ],
    ["arguments deeper than can be written", answer(200, withArguments(deep)), "ENGINE_PROTOCOL"],
    [
      "arguments deeper than can be written, in a stream",
      stream(`data: ${withArguments(deep)}\n\n`),
      "ENGINE_PROTOCOL",
    ],
  ])("%s", async (_, generate, reason) => {
    expect((await besideAnother(generate)).reason).toBe(reason);
  });

  test("an error of a validation names the places that are some", async () => {
    const body = { detail: [{ loc: ["body", poison, "top_k", 0], msg: "bad" }] };
    expect((await besideAnother(answer(422, body))).failure?.facts["problem"]).toBe("body.top_k.0: bad");
  });

  // Words that every object of the language knows.
  test.each(["constructor", "__proto__", "toString"])("an end for the reason %s", async (word) => {
    const outcome = await besideAnother(answer(200, choice({ finish_reason: word })));
    expect([outcome.reason, outcome.finish()]).toEqual([undefined, "STOP"]);
  });

  test.each<[Spoken, string, Generate]>([
    [
      "ANTHROPIC",
      "constructor",
      stream(messageStart(), textBlock("hello"), named("message_delta", { delta: { stop_reason: "constructor" } })),
    ],
    [
      "TGI",
      "constructor",
      stream(
        `data:${JSON.stringify(lastEvent("!")).replace(/"finish_reason":"\w+"/, '"finish_reason":"constructor"')}\n\n`,
      ),
    ],
  ])("%s: an end for the reason %s", async (spoken, _, generate) => {
    const { driver, attempt } = await serve(spoken, generate);
    const request = spoken === "TGI" ? { input: { case: "prompt" as const, value: "hi" } } : {};
    expect((await run(driver, attempt(request))).reason).toBe("ENGINE_PROTOCOL");
  });
});

describe("a time to wait that nobody waits for", () => {
  test.each<[Spoken, Readonly<Record<string, string>>]>([
    ["OPENAI", { "retry-after": "Infinity" }],
    ["OPENAI", { "retry-after": "1e400" }],
    ["OPENAI", { "retry-after-ms": "1e20" }],
    ["OPENAI", { "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "999999999h" }],
    ["ANTHROPIC", { "retry-after": "1e20" }],
    [
      "ANTHROPIC",
      { "anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "+275760-09-13T00:00:00Z" },
    ],
    ["TGI", { "retry-after": "Sat, 01 Jan 270000 00:00:00 GMT" }],
  ])("is a day: %s %j", async (spoken, headers) => {
    const { driver, attempt } = await serve(spoken, answer(429, {}, headers));
    const outcome = await run(driver, attempt());
    expect([outcome.reason, outcome.failure?.retryAfterMs]).toEqual(["ENGINE_OVERLOADED", dayMs]);
  });
});

test.each([200, 500])("what reads an answer of %i to one question may throw", async (status) => {
  await using server = await startFakeOpenAi({ generate: answer(status, {}) });
  const target = targetAt(server.url);
  await using connection = connectionTo(target);
  const request = requestWithBody(connection.post("/embeddings", "*/*"), "id", "{}");
  const broken = () => {
    throw new RangeError("too deep");
  };
  const asked = postJson(
    { http: connection.http, target, request, model: "m", refused: broken, errorIn: broken },
    calm,
  );
  expect(await failureOf(asked)).toEqual({ reason: "ENGINE_PROTOCOL", problem: "an answer that cannot be read" });
});

test("a call with one answer fails alone, too", async () => {
  const answers = [answer(429, {}, { "retry-after": "1e400" }), answer(200, { error: { message: "x", code: poison } })];
  const { driver } = await serve("OPENAI", (exchange) => answers.shift()?.(exchange));
  const embed = () => failureOf(driver.embed?.(embedAttempt(["a"]), calm));
  expect([await embed(), await embed()]).toMatchObject([{ reason: "ENGINE_OVERLOADED" }, { reason: "ENGINE_FAILED" }]);
});
