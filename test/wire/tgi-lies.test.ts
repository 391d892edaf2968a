import { afterAll, describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Attempt, Target } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { chatChunk } from "../fakes/fake-openai.ts";
import { type FakeExchange, lastEvent, startFakeTgi, tokenEvent } from "../fakes/fake-tgi.ts";
import { attemptAt, run, start, targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

async function serve(generate: (exchange: FakeExchange) => void, more: Partial<Target> = {}) {
  const engine = cleanup.use(await startFakeTgi({ generate }));
  const driver = cleanup.use(openDriver(Dialect.TGI, targetAt(engine.url, more)));
  const [model] = (await driver.probe(AbortSignal.timeout(5_000))).models;
  if (!model) throw new Error("the fake has no model");
  return {
    engine,
    driver,
    attempt: (request = {}, rest: Partial<Attempt> = {}) => attemptAt(model, request, rest),
  };
}

const events = (...all: unknown[]) => all.map((one) => `data:${JSON.stringify(one)}\n\n`).join("");
const hello = tokenEvent("hello");
const end = lastEvent("!");
const stream = (body: string | Buffer) => (exchange: FakeExchange) => {
  exchange.startStream();
  exchange.response.end(body);
};
const conversation = {
  input: {
    case: "conversation" as const,
    value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "hi" } }] }] },
  },
};

describe("a stream that tells lies", () => {
  test.each<[string, string | Buffer, string, string]>([
    ["ends without its last token", events(hello), "ENGINE_TRUNCATED", "hello"],
    ["is empty", "", "ENGINE_TRUNCATED", ""],
    ["has only comments", ":\n\n:\n\n", "ENGINE_TRUNCATED", ""],
    ["says [DONE], as OpenAI's do", `${events(hello)}data:[DONE]\n\n`, "ENGINE_TRUNCATED", "hello"],
    ["has half a JSON text", `${events(hello)}data:{"token":{"te\n\n`, "ENGINE_PROTOCOL", "hello"],
    ["has junk for JSON", "data:oops\n\n", "ENGINE_PROTOCOL", ""],
    ["has a JSON text that is no object", "data:[1]\n\n", "ENGINE_PROTOCOL", ""],
    ["has a token that is a text", events({ token: "hello" }), "ENGINE_PROTOCOL", ""],
    ["has a token whose text is a number", events({ token: { id: 1, text: 5 } }), "ENGINE_PROTOCOL", ""],
    ["has an object without a token", events({ index: 1 }), "ENGINE_PROTOCOL", ""],
    ["ends for no reason", events(hello, lastEvent("!", { finish_reason: null })), "ENGINE_PROTOCOL", "hello!"],
    [
      "ends for an unknown reason",
      events(hello, lastEvent("!", { finish_reason: "tired" })),
      "ENGINE_PROTOCOL",
      "hello!",
    ],
    ["runs its events together", events(hello).trimEnd() + "\n" + events(end), "ENGINE_PROTOCOL", ""],
    ["is a page of HTML", "<html>\n<body>502</body>\n</html>\n", "ENGINE_PROTOCOL", ""],
    [
      "fails",
      events(hello, { error: "Request failed during generation: it broke", error_type: "generation" }),
      "ENGINE_FAILED",
      "hello",
    ],
    ["is full", events({ error: "Model is overloaded", error_type: "overloaded" }), "ENGINE_OVERLOADED", ""],
    [
      "has lost its shards",
      events(hello, {
        error: "Request failed during generation: Server error: transport error",
        error_type: "generation",
      }),
      "ENGINE_UNAVAILABLE",
      "hello",
    ],
    [
      "says that it is not complete",
      events(hello, { error: "Incomplete generation stream", error_type: "incomplete_generation_stream" }),
      "ENGINE_TRUNCATED",
      "hello",
    ],
    [
      "refuses inside a 200",
      events({ error: "Input validation error: `top_p` must be > 0.0 and < 1.0", error_type: "validation" }),
      "ENGINE_REFUSED",
      "",
    ],
    ["has an error that is no text", events(hello, { error: 5 }), "ENGINE_PROTOCOL", "hello"],
  ])("%s", async (_, body, reason, text) => {
    const { driver, attempt } = await serve(stream(body));
    const outcome = await run(driver, attempt());
    expect([outcome.reason, outcome.text(), outcome.late]).toEqual([reason, text, 0]);
  });

  test.each<[string, (exchange: FakeExchange) => void, string]>([
    ["a redirect", (exchange) => void exchange.response.writeHead(307, { location: "/x" }).end(), "ENGINE_PROTOCOL"],
    ["a key that is not taken", (exchange) => void exchange.response.writeHead(401).end(), "ENGINE_CREDENTIAL"],
    ["a path that is not there", (exchange) => void exchange.response.writeHead(404).end(), "ENGINE_PROTOCOL"],
    ["health's status", (exchange) => void exchange.response.writeHead(503).end(), "ENGINE_UNAVAILABLE"],
    ["no word at all", (exchange) => void exchange.socket.destroy(), "ENGINE_UNAVAILABLE"],
    [
      "a cut",
      (exchange) => {
        exchange.startStream();
        exchange.response.write(events(hello), () => exchange.socket.destroy());
      },
      "ENGINE_UNAVAILABLE",
    ],
  ])("is %s", async (_, generate, reason) => {
    const { driver, attempt } = await serve(generate);
    expect((await run(driver, attempt())).reason).toBe(reason);
  });

  test.each([
    ["a line", `data:"${"x".repeat(70_000)}`],
    ["an event", `data:"x\n`.repeat(30_000)],
  ])("has %s beyond the limit", async (_, body) => {
    const { driver, attempt } = await serve(stream(body), { receiveBytesMax: 65_536 });
    expect((await run(driver, attempt())).reason).toBe("ANSWER_TOO_LARGE");
  });

  test.each<[string, string, number | undefined]>([
    ["counts are impossible", events(hello, lastEvent("!", { generated_tokens: -2, input_length: 1.5 })), undefined],
    ["counts are absurd", events(hello, lastEvent("!", { generated_tokens: 1e12, input_length: 1e300 })), undefined],
    ["counts are texts", events(hello, lastEvent("!", { generated_tokens: "2", input_length: "3" })), undefined],
    ["more follows the end", `${events(hello, end, hello)}junk`, 2],
    ["the last line has no end", events(hello, end).trimEnd(), 2],
    [
      "the log probability is null",
      events({ ...(hello as object), token: { id: 1, text: "hello", logprob: null } }, end),
      2,
    ],
  ])("is good enough where %s", async (_, body, tokens) => {
    const { driver, attempt } = await serve(stream(body));
    const outcome = await run(driver, attempt());
    expect(outcome).toMatchObject({ ended: true, reason: undefined, late: 0 });
    expect([outcome.text(), outcome.finish()]).toEqual(["hello!", "LENGTH"]);
    expect(Number(outcome.usage?.completionTokens ?? 0)).toBe(tokens ?? 0);
  });

  test("bytes that are no UTF-8 are told as such characters, and end nothing", async () => {
    const bytes = Buffer.concat([Buffer.from('data:{"token":{"text":"'), Buffer.from([0xff]), Buffer.from('"}}\n\n')]);
    const { driver, attempt } = await serve(stream(Buffer.concat([bytes, Buffer.from(events(end))])));
    expect((await run(driver, attempt())).text()).toBe("\uFFFD!");
  });
});

describe("a whole answer", () => {
  const tokens = [
    { id: 1, text: "hel", logprob: -0.1, special: false },
    { id: 2, text: "lo", logprob: -0.2, special: false },
    { id: 3, text: "</s>", logprob: -0.3, special: true },
  ];
  const details = { finish_reason: "eos_token", generated_tokens: 3, prefill: [], tokens };
  const json =
    (body: unknown, headers = {}) =>
    (exchange: FakeExchange) =>
      void exchange.response
        .writeHead(200, { "content-type": "application/json", ...headers })
        .end(typeof body === "string" ? body : JSON.stringify(body));

  test("is the text of its tokens, without special ones, and counts by a header", async () => {
    // An incomplete character empties the whole text.
    const { driver, attempt, engine } = await serve(json({ generated_text: "", details }, { "x-prompt-tokens": "5" }));
    const outcome = await run(driver, attempt({ stream: false }));
    expect([outcome.text(), outcome.finish(), outcome.tokens()]).toEqual(["hello", "STOP", 3]);
    expect(outcome.usage).toMatchObject({ promptTokens: 5n, completionTokens: 3n });
    expect(engine.requests[0]).toMatchObject({ path: "/generate", body: { parameters: { details: true } } });
  });

  test.each<[string, unknown, string]>([
    ["is not JSON", '{"generated_text":', "ENGINE_PROTOCOL"],
    ["is a list", [{ generated_text: "hello" }], "ENGINE_PROTOCOL"],
    ["has no details", { generated_text: "hello" }, "ENGINE_PROTOCOL"],
    ["has no tokens", { generated_text: "hello", details: { ...details, tokens: null } }, "ENGINE_PROTOCOL"],
    ["has a token that is none", { generated_text: "", details: { ...details, tokens: [null] } }, "ENGINE_PROTOCOL"],
    ["has no reason", { generated_text: "", details: { ...details, finish_reason: 1 } }, "ENGINE_PROTOCOL"],
    ["is an error inside a 200", { error: "it broke", error_type: "generation" }, "ENGINE_FAILED"],
    ["is longer than the limit", { generated_text: "x".repeat(70_000), details }, "ANSWER_TOO_LARGE"],
  ])("that %s fails", async (_, body, reason) => {
    const { driver, attempt } = await serve(json(body), { receiveBytesMax: 65_536 });
    expect((await run(driver, attempt({ stream: false }))).reason).toBe(reason);
  });
});

describe("a chat", () => {
  const chat = (...chunks: unknown[]) => stream(`${events(...chunks)}data:[DONE]\n\n`);
  const usage = { choices: [], usage: { prompt_tokens: 3, completion_tokens: 2 } };

  test("is OpenAI's, with ends of TGI's own", async () => {
    const { driver, attempt, engine } = await serve(
      chat(chatChunk({ content: "hel" }), chatChunk({ content: "lo" }, "stop_sequence"), usage),
    );
    const outcome = await run(
      driver,
      attempt({ ...conversation, stream: false, sampling: { temperature: 0, topP: 1 } }),
    );
    expect([outcome.text(), outcome.finish(), outcome.usage?.promptTokens]).toEqual(["hello", "STOP", 3n]);
    expect(engine.requests[0]?.body).toMatchObject({ model: "tgi", stream: true, temperature: 0 });
    expect(engine.requests[0]?.body).not.toHaveProperty("top_p");
  });

  test("ends before a stop text that the engine left in, and stops an engine that does not know of it", async () => {
    const { driver, attempt, engine } = await serve((exchange) => {
      exchange.startStream();
      exchange.event(chatChunk({ content: "one. t" }));
      exchange.event(chatChunk({ content: "wo. three" }));
    });
    const outcome = await run(driver, attempt({ ...conversation, sampling: { stop: ["two"] } }));
    expect([outcome.text(), outcome.finish(), outcome.ended]).toEqual(["one. ", "STOP", true]);
    await engine.requests[0]?.left;
  });

  test.each<[string, unknown, string]>([
    [
      "a refusal in its own form",
      { error: { message: "Template error: bad", http_status_code: 422 } },
      "ENGINE_REFUSED",
    ],
    [
      "an overload in its own form",
      { error: { message: "Model is overloaded", http_status_code: 429 } },
      "ENGINE_OVERLOADED",
    ],
    ["a choice nobody asked for", chatChunk({ content: "x" }, null, 3), "ENGINE_PROTOCOL"],
    ["a chunk without choices", { id: "" }, "ENGINE_PROTOCOL"],
    ["no end", chatChunk({ content: "x" }), "ENGINE_TRUNCATED"],
  ])("that has %s fails", async (_, chunk, reason) => {
    const { driver, attempt } = await serve(chat(chunk));
    expect((await run(driver, attempt(conversation))).reason).toBe(reason);
  });
});

describe("several choices are as many calls", () => {
  const answers = (fail: (exchange: FakeExchange) => boolean) => (exchange: FakeExchange) => {
    exchange.startStream();
    exchange.event(tokenEvent("one"));
    if (!fail(exchange)) exchange.response.end(events(end));
  };
  const isSecond = ({ headers }: FakeExchange) => String(headers["x-request-id"]).endsWith("-1");

  test("with a seed each, and one count of the prompt", async () => {
    const { driver, attempt, engine } = await serve(answers(() => false));
    const outcome = await run(driver, attempt({ choices: 3, sampling: { seed: 5n } }));
    expect([0, 1, 2].map((choice) => outcome.text(choice))).toEqual(["one!", "one!", "one!"]);
    expect(outcome.usage).toMatchObject({ promptTokens: 3n, completionTokens: 6n });
    const seeds = engine.requests.map(({ body }) => (body["parameters"] as { seed: number }).seed);
    expect(seeds.toSorted((a, b) => a - b)).toEqual([5, 6, 7]);
  });

  test.each<[string, (exchange: FakeExchange) => void, string]>([
    ["fails", (exchange) => exchange.event({ error: "it broke", error_type: "generation" }), "ENGINE_FAILED"],
    ["is cut short", (exchange) => void exchange.response.end(), "ENGINE_TRUNCATED"],
    ["is lost", (exchange) => void exchange.socket.destroy(), "ENGINE_UNAVAILABLE"],
  ])("of which one %s, and then all have, and are stopped", async (_, lie, reason) => {
    const { driver, attempt, engine } = await serve(
      answers((exchange) => {
        if (isSecond(exchange)) setTimeout(() => lie(exchange), 20);
        return true;
      }),
    );
    const outcome = await run(driver, attempt({ choices: 3 }));
    expect([outcome.reason, outcome.late]).toEqual([reason, 0]);
    await Promise.all(engine.requests.filter((one) => !isSecond(one)).map(({ left }) => left));
  });

  test("and a cancel stops all of them", async () => {
    const { driver, attempt, engine } = await serve(answers(() => true));
    const { outcome, cancel } = start(driver, attempt({ choices: 3 }));
    await outcome.until(() => outcome.deltas.length === 3);
    cancel();
    await Promise.all(engine.requests.map(({ left }) => left));
    expect(outcome.late).toBe(0);
  });
});

describe("time", () => {
  test.each<[string, (exchange: FakeExchange) => void, Partial<Target>, string]>([
    ["no answer at all", () => undefined, { firstEventMs: 100 }, "first event"],
    [
      "a token, and nothing",
      (exchange) => {
        exchange.startStream();
        exchange.event(hello);
      },
      { idleMs: 100 },
      "next event",
    ],
    [
      "tokens for ever",
      (exchange) => {
        exchange.startStream();
        const timer = setInterval(() => exchange.event(hello), 10);
        void exchange.left.then(() => clearInterval(timer));
      },
      { totalMs: 200 },
      "end",
    ],
  ])("%s", async (_, generate, limits, phase) => {
    const { driver, attempt, engine } = await serve(generate, limits);
    const outcome = await run(driver, attempt());
    expect(outcome.reason).toBe("ENGINE_TIMEOUT");
    expect(outcome.failure?.facts).toMatchObject({ phase, model: "caller-model" });
    await engine.requests[0]?.left;
  });

  test("a hanging request leaves the others alone", async () => {
    const { driver, attempt } = await serve(({ body, ...exchange }) => {
      if (body["inputs"] !== "hang") stream(events(hello, end))({ body, ...exchange });
    });
    const hanging = start(driver, attempt({ input: { case: "prompt", value: "hang" } }));
    expect((await run(driver, attempt())).text()).toBe("hello!");
    hanging.cancel();
  });
});
