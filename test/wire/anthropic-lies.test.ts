import { afterAll, describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Target } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import {
  type FakeExchange,
  messageEnd,
  messageStart,
  named,
  startFakeAnthropic,
  textBlock,
} from "../fakes/fake-anthropic.ts";
import { attemptAt, Outcome, run, start, targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const input = {
  case: "conversation" as const,
  value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "hi" } }] }] },
};

async function serve(generate: (exchange: FakeExchange) => void, more: Partial<Target> = {}) {
  const engine = cleanup.use(await startFakeAnthropic({ generate }));
  const driver = cleanup.use(
    openDriver(Dialect.ANTHROPIC, targetAt(engine.url, { engineKey: "key-canary-1234", ...more })),
  );
  const [model] = (await driver.probe(AbortSignal.timeout(5_000))).models;
  if (!model) throw new Error("the fake has no model");
  return { engine, driver, attempt: (request = {}) => attemptAt(model, { input, ...request }) };
}

const stream = (body: string | Buffer) => (exchange: FakeExchange) => {
  exchange.startStream();
  exchange.response.end(body);
};
const begun = messageStart() + textBlock("hello");
const blockStart = (index: unknown, content_block: unknown) => named("content_block_start", { index, content_block });
const blockDelta = (index: unknown, delta: unknown) => named("content_block_delta", { index, delta });
const failure = (type: string, message = "it broke") => named("error", { error: { type, message } });

describe("a stream that tells lies", () => {
  test.each<[string, string | Buffer, string, string]>([
    ["ends after its text", begun, "ENGINE_TRUNCATED", "hello"],
    ["ends without a reason", `${begun}${messageEnd(null)}`, "ENGINE_TRUNCATED", "hello"],
    ["stops without an end", `${begun}${named("message_stop")}`, "ENGINE_TRUNCATED", "hello"],
    ["is empty", "", "ENGINE_TRUNCATED", ""],
    ["has only pings", named("ping") + named("ping"), "ENGINE_TRUNCATED", ""],
    ["says [DONE], as OpenAI's do", `${begun}data: [DONE]\n\n`, "ENGINE_TRUNCATED", "hello"],
    ["has half a JSON text", `${begun}event: message_delta\ndata: {"type":"mess\n\n`, "ENGINE_PROTOCOL", "hello"],
    ["has junk for JSON", "data: oops\n\n", "ENGINE_PROTOCOL", ""],
    ["has a JSON text that is no object", "data: [1]\n\n", "ENGINE_PROTOCOL", ""],
    ["has an event without a type", "data: {}\n\n", "ENGINE_PROTOCOL", ""],
    ["runs its events together", begun.replaceAll("\n\n", "\n"), "ENGINE_PROTOCOL", ""],
    ["begins twice", messageStart() + messageStart(), "ENGINE_PROTOCOL", ""],
    ["begins with no message", named("message_start"), "ENGINE_PROTOCOL", ""],
    ["begins with a block", textBlock("hello"), "ENGINE_PROTOCOL", ""],
    ["ends before it begins", messageEnd(), "ENGINE_PROTOCOL", ""],
    ["leaves a block out", messageStart() + textBlock("hello", 1), "ENGINE_PROTOCOL", ""],
    ["has a block with a negative index", messageStart() + textBlock("hello", -1), "ENGINE_PROTOCOL", ""],
    [
      "has a delta of no block",
      messageStart() + blockDelta(0, { type: "text_delta", text: "x" }),
      "ENGINE_PROTOCOL",
      "",
    ],
    [
      "has a delta after its block",
      `${begun}${blockDelta(0, { type: "text_delta", text: "x" })}`,
      "ENGINE_PROTOCOL",
      "hello",
    ],
    ["has a block that is none", messageStart() + blockStart(0, null), "ENGINE_PROTOCOL", ""],
    [
      "has a text that is a number",
      messageStart() + blockStart(0, { type: "text", text: "" }) + blockDelta(0, { type: "text_delta", text: 5 }),
      "ENGINE_PROTOCOL",
      "",
    ],
    ["calls nobody", messageStart() + blockStart(0, { type: "tool_use", id: "t", input: {} }), "ENGINE_PROTOCOL", ""],
    [
      "has arguments that are no text",
      messageStart() +
        blockStart(0, { type: "tool_use", id: "t", name: "f", input: {} }) +
        blockDelta(0, { type: "input_json_delta", partial_json: {} }),
      "ENGINE_PROTOCOL",
      "",
    ],
    ["ends for an unknown reason", `${begun}${messageEnd("tired")}`, "ENGINE_PROTOCOL", "hello"],
    ["ends for a number", `${begun}${messageEnd(7)}`, "ENGINE_PROTOCOL", "hello"],
    ["is a page of HTML", "<html>\n<body>502</body>\n</html>\n", "ENGINE_PROTOCOL", ""],
    ["fails", begun + failure("api_error"), "ENGINE_FAILED", "hello"],
    ["is overloaded in its midst", begun + failure("overloaded_error"), "ENGINE_OVERLOADED", "hello"],
    ["is overloaded first", failure("overloaded_error"), "ENGINE_OVERLOADED", ""],
    ["times out", failure("timeout_error"), "ENGINE_UNAVAILABLE", ""],
    ["refuses inside a 200", failure("invalid_request_error", "messages: bad"), "ENGINE_REFUSED", ""],
    ["has an error that is none", named("error", { error: null }), "ENGINE_FAILED", ""],
  ])("%s", async (_, body, reason, text) => {
    const { driver, attempt } = await serve(stream(body));
    const outcome = await run(driver, attempt());
    expect([outcome.reason, outcome.text(), outcome.late]).toEqual([reason, text, 0]);
  });

  test.each([
    ["a line", `data: "${"x".repeat(70_000)}`],
    ["an event", `data: "x\n`.repeat(30_000)],
  ])("has %s beyond the limit", async (_, body) => {
    const { driver, attempt } = await serve(stream(body), { receiveBytesMax: 65_536 });
    expect((await run(driver, attempt())).reason).toBe("ANSWER_TOO_LARGE");
  });

  test("has blocks without end", async () => {
    const blocks = Array.from({ length: 5_000 }, (_, index) => textBlock("x", index)).join("");
    const { driver, attempt } = await serve(stream(messageStart() + blocks + messageEnd()));
    expect((await run(driver, attempt())).reason).toBe("ENGINE_PROTOCOL");
  });

  const usage = (input_tokens: unknown, output_tokens: unknown) =>
    messageStart({ input_tokens, output_tokens: 1 }) + textBlock("hello") + messageEnd("end_turn", { output_tokens });

  test.each<[string, string, bigint[]]>([
    ["counts are impossible", usage(-3, 1.5), [0n, 0n]],
    ["counts are absurd", usage(1e300, 1e15), [0n, 0n]],
    ["counts are texts", usage("3", "2"), [0n, 0n]],
    ["usage is null", messageStart(null) + textBlock("hello") + messageEnd("end_turn", null), [0n, 0n]],
    [
      "unknown events come",
      `${messageStart()}${named("weather", { sun: 1 })}${textBlock("hello")}${messageEnd()}`,
      [3n, 2n],
    ],
    ["more follows the end", `${begun}${messageEnd()}${begun}junk`, [3n, 2n]],
    ["the end comes twice", `${begun}${messageEnd()}${messageEnd()}`, [3n, 2n]],
    ["the last line has no end", `${begun}${messageEnd()}`.trimEnd(), [3n, 2n]],
    [
      "unknown blocks come",
      `${messageStart()}${blockStart(0, { type: "server_tool_use" })}${named("content_block_stop", { index: 0 })}${textBlock("hello", 1)}${messageEnd()}`,
      [3n, 2n],
    ],
  ])("is good enough where %s", async (_, body, counts) => {
    const { driver, attempt } = await serve(stream(body));
    const outcome = await run(driver, attempt());
    expect(outcome).toMatchObject({ ended: true, reason: undefined, late: 0 });
    expect([outcome.text(), outcome.finish()]).toEqual(["hello", "STOP"]);
    expect([outcome.usage?.promptTokens ?? 0n, outcome.usage?.completionTokens ?? 0n]).toEqual(counts);
  });

  test("a cut after its reason loses nothing", async () => {
    const { driver, attempt } = await serve((exchange) => {
      exchange.startStream();
      exchange.response.write(begun + messageEnd().split("event: message_stop")[0], () => exchange.socket.destroy());
    });
    const outcome = await run(driver, attempt());
    expect(outcome).toMatchObject({ ended: true, reason: undefined, late: 0 });
  });

  test("bytes that are no UTF-8 are told as such characters", async () => {
    const [before = "", after = ""] = begun.split("hello");
    const bytes = Buffer.concat([Buffer.from(before), Buffer.from([0xff]), Buffer.from(after + messageEnd())]);
    const { driver, attempt } = await serve(stream(bytes));
    expect((await run(driver, attempt())).text()).toBe("\uFFFD");
  });

  test("text is the same however the bytes are cut", async () => {
    const whole = Buffer.from(messageStart() + textBlock("é漢🌊") + messageEnd());
    const { driver, attempt } = await serve((exchange) => {
      exchange.startStream();
      let at = 0;
      const next = () => {
        if (at < whole.length) exchange.response.write(whole.subarray(at, ++at), () => setImmediate(next));
        else exchange.response.end();
      };
      next();
    });
    expect((await run(driver, attempt())).text()).toBe("é漢🌊");
  });
});

describe("an answer other than 200", () => {
  const error =
    (status: number, type: string, message = "no", headers = {}) =>
    (exchange: FakeExchange) =>
      void exchange.response
        .writeHead(status, { "content-type": "application/json", ...headers })
        .end(JSON.stringify({ type: "error", error: { type, message }, request_id: "req_1" }));
  const soon = new Date(Date.now() + 60_000).toISOString();

  test.each<[string, (exchange: FakeExchange) => void, string, (number | undefined)?]>([
    ["529", error(529, "overloaded_error"), "ENGINE_OVERLOADED"],
    [
      "429 with a time",
      error(429, "rate_limit_error", "slow down", { "retry-after": "7" }),
      "ENGINE_OVERLOADED",
      7_000,
    ],
    ["401", error(401, "authentication_error", "key-canary-1234"), "ENGINE_CREDENTIAL"],
    ["402", error(402, "billing_error"), "ENGINE_CREDENTIAL"],
    ["403", error(403, "permission_error"), "ENGINE_CREDENTIAL"],
    ["an empty account", error(400, "invalid_request_error", "Your credit balance is too low"), "ENGINE_CREDENTIAL"],
    ["404 of a model", error(404, "not_found_error", "model: fake"), "ENGINE_UNAVAILABLE"],
    ["404 of a path", error(404, "not_found_error", "Not Found"), "ENGINE_PROTOCOL"],
    ["413", error(413, "request_too_large"), "ENGINE_REFUSED"],
    ["400", error(400, "invalid_request_error", "max_tokens: 9 > 8 key-canary-1234"), "ENGINE_REFUSED"],
    ["500", error(500, "api_error"), "ENGINE_FAILED"],
    ["504", error(504, "timeout_error"), "ENGINE_UNAVAILABLE"],
    [
      "a long prompt",
      error(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
      "CONTEXT_LENGTH_EXCEEDED",
    ],
    ["a page of HTML", (exchange) => void exchange.response.writeHead(502).end("<html>"), "ENGINE_UNAVAILABLE"],
    ["a redirect", (exchange) => void exchange.response.writeHead(307, { location: "/x" }).end(), "ENGINE_PROTOCOL"],
    ["no content", (exchange) => void exchange.response.writeHead(204).end(), "ENGINE_PROTOCOL"],
    ["nothing", (exchange) => void exchange.socket.destroy(), "ENGINE_UNAVAILABLE"],
  ])("%s", async (_, generate, reason, retryAfterMs) => {
    const { driver, attempt } = await serve(generate);
    const outcome = await run(driver, attempt());
    expect([outcome.reason, outcome.failure?.retryAfterMs]).toEqual([reason, retryAfterMs]);
    expect(JSON.stringify(outcome.failure?.facts)).not.toContain("key-canary");
  });

  test("429 without a time says when the limit that is used up is full again", async () => {
    const headers = {
      "anthropic-ratelimit-requests-remaining": "5",
      "anthropic-ratelimit-input-tokens-remaining": "0",
      "anthropic-ratelimit-input-tokens-reset": soon,
    };
    const { driver, attempt } = await serve(error(429, "rate_limit_error", "slow down", headers));
    const { failure: told } = await run(driver, attempt());
    expect(told?.retryAfterMs).toBeGreaterThan(1_000);
    expect(told?.retryAfterMs).toBeLessThanOrEqual(60_000);
  });
});

describe("a whole answer", () => {
  const json = (body: unknown) => (exchange: FakeExchange) =>
    void exchange.response
      .writeHead(200, { "content-type": "application/json" })
      .end(typeof body === "string" ? body : JSON.stringify(body));
  const message = (more: object) => ({
    type: "message",
    role: "assistant",
    content: [{ type: "text", text: "hello" }],
    stop_reason: "end_turn",
    stop_sequence: null,
    usage: { input_tokens: 3, output_tokens: 2, cache_read_input_tokens: 5, cache_creation_input_tokens: 4 },
    ...more,
  });

  test("counts what the cache had as a part of the prompt", async () => {
    const { driver, attempt } = await serve(json(message({})));
    const outcome = await run(driver, attempt({ stream: false }));
    expect(outcome.order).toEqual(["started", "delta", "finished", "usage"]);
    expect(outcome.usage).toMatchObject({ promptTokens: 12n, cachedTokens: 5n, completionTokens: 2n });
  });

  test.each<[string, unknown, string]>([
    ["is not JSON", '{"type":"mess', "ENGINE_PROTOCOL"],
    ["is a list", [], "ENGINE_PROTOCOL"],
    ["has no type", message({ type: undefined }), "ENGINE_PROTOCOL"],
    ["has no content", message({ content: null }), "ENGINE_PROTOCOL"],
    ["has a block that is none", message({ content: [5] }), "ENGINE_PROTOCOL"],
    ["has no reason", message({ stop_reason: null }), "ENGINE_TRUNCATED"],
    ["is an error inside a 200", { type: "error", error: { type: "api_error", message: "no" } }, "ENGINE_FAILED"],
    ["is longer than the limit", message({ id: "x".repeat(70_000) }), "ANSWER_TOO_LARGE"],
  ])("that %s fails", async (_, body, reason) => {
    const { driver, attempt } = await serve(json(body), { receiveBytesMax: 65_536 });
    expect((await run(driver, attempt({ stream: false }))).reason).toBe(reason);
  });
});

describe("time", () => {
  test.each<[string, string, Partial<Target>, string]>([
    ["a head, and nothing", "", { firstEventMs: 100 }, "first event"],
    ["a text, and nothing", begun, { idleMs: 100 }, "next event"],
  ])("%s", async (_, body, limits, phase) => {
    const { driver, attempt, engine } = await serve((exchange) => {
      exchange.startStream();
      exchange.response.flushHeaders();
      if (body !== "") exchange.response.write(body);
    }, limits);
    const outcome = await run(driver, attempt());
    expect([outcome.reason, outcome.failure?.facts["phase"]]).toEqual(["ENGINE_TIMEOUT", phase]);
    await engine.requests[0]?.left;
  });

  test("pings keep a silent answer alive, up to its whole time", async () => {
    const { driver, attempt } = await serve(
      (exchange) => {
        exchange.startStream();
        const timer = setInterval(() => exchange.response.write(named("ping")), 20);
        void exchange.left.then(() => clearInterval(timer));
      },
      { idleMs: 200, totalMs: 500 },
    );
    const outcome = await run(driver, attempt());
    expect([outcome.reason, outcome.failure?.facts["phase"]]).toEqual(["ENGINE_TIMEOUT", "end"]);
  });
});

test("a reader that is full stops the stream, and loses nothing", async () => {
  const count = 4_000;
  const filler = "x".repeat(4_000);
  let written = 0;
  const { driver, attempt } = await serve((exchange) => {
    exchange.startStream();
    exchange.response.write(messageStart() + blockStart(0, { type: "text", text: "" }));
    const more = () => {
      while (written < count) {
        written += 1;
        if (!exchange.response.write(blockDelta(0, { type: "text_delta", text: filler })))
          return void exchange.response.once("drain", more);
      }
      exchange.response.end(named("content_block_stop", { index: 0 }) + messageEnd());
    };
    more();
  });
  const outcome = new Outcome();
  outcome.isFull = true;
  start(driver, attempt(), outcome);
  await outcome.until(() => outcome.deltas.length > 0);
  while (!outcome.resume) await new Promise((resolve) => setImmediate(resolve));
  let before = -1;
  while (before !== written) {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(written).toBeLessThan(count);
  outcome.isFull = false;
  outcome.resume();
  await outcome.done;
  expect([outcome.ended, outcome.text().length]).toEqual([true, count * filler.length]);
});
