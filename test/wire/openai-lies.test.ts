import { afterAll, describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Target } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { chatChunk, type FakeExchange, startFakeOpenAi } from "../fakes/fake-openai.ts";
import { attemptAt, Outcome, run, start, targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const conversation = {
  input: {
    case: "conversation" as const,
    value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "hi" } }] }] },
  },
};

async function serve(generate: (exchange: FakeExchange) => void, more: Partial<Target> = {}) {
  const engine = cleanup.use(await startFakeOpenAi({ generate }));
  const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(engine.url, more)));
  const probe = await driver.probe(AbortSignal.timeout(5_000));
  const model = probe.models[0];
  if (!model) throw new Error("the fake has no model");
  return { engine, driver, attempt: (request = {}) => attemptAt(model, { ...conversation, ...request }) };
}

const events = (...chunks: unknown[]) => chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("");
const hello = chatChunk({ role: "assistant", content: "hello" });
const stop = chatChunk({}, "stop");
const stream = (body: string | Buffer) => (exchange: FakeExchange) => {
  exchange.startStream();
  exchange.response.end(body);
};

describe("a stream that tells lies", () => {
  test.each<[string, (exchange: FakeExchange) => void, string, string]>([
    ["ends cleanly without a finish", stream(events(hello)), "ENGINE_TRUNCATED", "hello"],
    ["says [DONE] without a finish", stream(`${events(hello)}data: [DONE]\n\n`), "ENGINE_TRUNCATED", "hello"],
    ["is empty", stream(""), "ENGINE_TRUNCATED", ""],
    ["has only comments", stream(": ping\n\n: ping\n\n"), "ENGINE_TRUNCATED", ""],
    ["has half a JSON text", stream(`${events(hello)}data: {"choices":[{"ind\n\n`), "ENGINE_PROTOCOL", "hello"],
    ["has junk for JSON", stream("data: oops\n\n"), "ENGINE_PROTOCOL", ""],
    ["has a JSON text that is no object", stream("data: [1]\n\n"), "ENGINE_PROTOCOL", ""],
    ["has a chunk without choices", stream('data: {"id":"x"}\n\n'), "ENGINE_PROTOCOL", ""],
    ["has a choice nobody asked for", stream(events(chatChunk({ content: "x" }, null, 7))), "ENGINE_PROTOCOL", ""],
    [
      "has a choice with a negative index",
      stream(events(chatChunk({ content: "x" }, null, -1))),
      "ENGINE_PROTOCOL",
      "",
    ],
    ["is a page of HTML", stream("<html>\n<body>502</body>\n</html>\n"), "ENGINE_PROTOCOL", ""],
    ["tells an error", stream(events(hello, { error: { message: "it broke", code: 500 } })), "ENGINE_FAILED", "hello"],
    [
      "tells an error first",
      stream(events({ error: { message: "queue is full", code: 503 } })),
      "ENGINE_OVERLOADED",
      "",
    ],
    ["tells an error by its type", stream('event: error\ndata: {"message":"it broke"}\n\n'), "ENGINE_FAILED", ""],
    ["aborts", stream(events(hello, chatChunk({}, "abort"))), "ENGINE_FAILED", "hello"],
    [
      "is cut",
      (exchange) => {
        exchange.startStream();
        exchange.response.write(events(hello), () => exchange.socket.destroy());
      },
      "ENGINE_UNAVAILABLE",
      "hello",
    ],
    [
      "breaks HTTP",
      (exchange) => {
        exchange.startStream();
        exchange.response.write(events(hello), () => exchange.socket.end("ZZZ\r\nnot a chunk"));
      },
      "ENGINE_PROTOCOL",
      "hello",
    ],
    [
      "is a download",
      (exchange) => void exchange.response.writeHead(200, { "content-type": "application/octet-stream" }).end("x"),
      "ENGINE_PROTOCOL",
      "",
    ],
    [
      "is compressed unasked",
      (exchange) =>
        void exchange.response
          .writeHead(200, { "content-type": "text/event-stream", "content-encoding": "gzip" })
          .end("x"),
      "ENGINE_PROTOCOL",
      "",
    ],
    [
      "is a redirect",
      (exchange) => void exchange.response.writeHead(307, { location: "/x" }).end(),
      "ENGINE_PROTOCOL",
      "",
    ],
    ["is no content", (exchange) => void exchange.response.writeHead(204).end(), "ENGINE_PROTOCOL", ""],
    [
      "is an endless error",
      (exchange) => {
        exchange.response.writeHead(500);
        const more = () => {
          while (exchange.response.write("x".repeat(16_384)) && !exchange.response.destroyed);
        };
        exchange.response.on("drain", more);
        more();
      },
      "ENGINE_FAILED",
      "",
    ],
    ["closes without a word", (exchange) => void exchange.socket.destroy(), "ENGINE_UNAVAILABLE", ""],
  ])("%s", async (_, generate, reason, text) => {
    const { driver, attempt } = await serve(generate);
    const outcome = await run(driver, attempt());
    expect(outcome.reason).toBe(reason);
    expect(outcome.text()).toBe(text);
    expect(outcome.late).toBe(0);
  });

  test.each([
    ["a line", `data: "${"x".repeat(70_000)}`],
    ["an event", `data: "x\n`.repeat(30_000)],
  ])("has %s beyond the limit", async (_, body) => {
    const { driver, attempt } = await serve(stream(body), { receiveBytesMax: 65_536 });
    expect((await run(driver, attempt())).reason).toBe("ANSWER_TOO_LARGE");
  });

  test.each<[string, string, string]>([
    ["[DONE] is missing", events(hello, stop), "hello"],
    ["[DONE] comes twice", `${events(hello, stop)}data: [DONE]\n\ndata: [DONE]\n\n`, "hello"],
    ["more follows [DONE]", `${events(hello, stop)}data: [DONE]\n\n${events(hello)}junk`, "hello"],
    ["text follows the finish", `${events(hello, stop, hello)}data: [DONE]\n\n`, "hello"],
    ["the finish comes twice", `${events(hello, stop, stop)}data: [DONE]\n\n`, "hello"],
    ["the last line has no end", events(hello, stop).trimEnd(), "hello"],
    ["error is null", events({ ...(hello as object), error: null }, stop), "hello"],
    [
      "counts are impossible",
      events(hello, stop, { choices: [], usage: { prompt_tokens: -3, completion_tokens: 1.5 } }),
      "hello",
    ],
    [
      "counts are larger than any context",
      events(hello, stop, { choices: [], usage: { prompt_tokens: 2 ** 31, completion_tokens: 9e15 } }),
      "hello",
    ],
  ])("is good enough where %s", async (_, body, text) => {
    const { driver, attempt } = await serve(stream(body));
    const outcome = await run(driver, attempt());
    expect(outcome).toMatchObject({ ended: true, reason: undefined, late: 0, usage: undefined });
    expect(outcome.text()).toBe(text);
    expect(outcome.order).toEqual(["started", "delta", "finished"]);
  });

  test("a cut after the last finish loses nothing", async () => {
    const { driver, attempt } = await serve((exchange) => {
      exchange.startStream();
      exchange.response.write(events(hello, stop), () => exchange.socket.destroy());
    });
    expect(await run(driver, attempt())).toMatchObject({ ended: true, reason: undefined });
  });

  test("text is the same however the bytes are cut", async () => {
    const whole = Buffer.from(`${events(chatChunk({ content: "é漢🌊" }), stop)}data: [DONE]\r\n\r\n`);
    const { driver, attempt } = await serve((exchange) => {
      exchange.startStream();
      exchange.response.socket?.setNoDelay(true);
      let at = 0;
      const next = () => {
        if (at < whole.length) exchange.response.write(whole.subarray(at, ++at), () => setImmediate(next));
        else exchange.response.end();
      };
      next();
    });
    const outcome = await run(driver, attempt());
    expect(outcome.text()).toBe("é漢🌊");
    expect(outcome.ended).toBe(true);
  });
});

describe("a whole answer", () => {
  const json = (body: unknown) => (exchange: FakeExchange) =>
    void exchange.response
      .writeHead(200, { "content-type": "application/json; charset=utf-8" })
      .end(typeof body === "string" ? body : JSON.stringify(body));
  const choice = (more: object) => ({
    index: 0,
    message: { role: "assistant", content: "hello" },
    finish_reason: "stop",
    ...more,
  });

  test("is told as a stream's events", async () => {
    const { driver, attempt, engine } = await serve(
      json({
        choices: [choice({})],
        usage: { prompt_tokens: 3, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 1 } },
      }),
    );
    const outcome = await run(driver, attempt({ stream: false }));
    expect(outcome.order).toEqual(["started", "delta", "finished", "usage"]);
    expect([outcome.text(), outcome.tokens(), outcome.finish()]).toEqual(["hello", 2, "STOP"]);
    expect(outcome.usage).toMatchObject({ promptTokens: 3n, completionTokens: 2n, cachedTokens: 1n });
    expect(engine.requests[0]?.body).toMatchObject({ stream: false });
    expect(engine.requests[0]?.body).not.toHaveProperty("stream_options");
  });

  test("is whole however its bytes are cut", async () => {
    const { driver, attempt } = await serve(({ response }) => {
      response.writeHead(200, { "content-type": "application/json" }).socket?.setNoDelay(true);
      for (const byte of Buffer.from(JSON.stringify({ choices: [choice({})] }))) response.write(Buffer.of(byte));
      response.end();
    });
    expect((await run(driver, attempt({ stream: false }))).text()).toBe("hello");
  });

  test("may come for a stream that was asked for", async () => {
    const { driver, attempt } = await serve(json({ choices: [choice({})] }));
    expect((await run(driver, attempt())).text()).toBe("hello");
  });

  test.each<[string, unknown, string]>([
    ["is not JSON", '{"choices":[', "ENGINE_PROTOCOL"],
    ["has no finish", { choices: [choice({ finish_reason: null })] }, "ENGINE_TRUNCATED"],
    ["has no choices", { choices: [] }, "ENGINE_TRUNCATED"],
    ["is an error", { error: { message: "it broke", code: 500 } }, "ENGINE_FAILED"],
    [
      "is longer than the limit",
      JSON.stringify({ choices: [choice({ message: { content: "x".repeat(70_000) } })] }),
      "ANSWER_TOO_LARGE",
    ],
  ])("that %s fails", async (_, body, reason) => {
    const { driver, attempt } = await serve(json(body), { receiveBytesMax: 65_536 });
    expect((await run(driver, attempt({ stream: false }))).reason).toBe(reason);
  });
});

describe("time", () => {
  test.each<[string, (exchange: FakeExchange) => void, Partial<Target>, string]>([
    ["no answer at all", () => undefined, { firstEventMs: 100 }, "first event"],
    [
      "a head, and nothing",
      (exchange) => {
        exchange.startStream();
        exchange.response.flushHeaders();
      },
      { firstEventMs: 100 },
      "first event",
    ],
    [
      "a chunk, and nothing",
      (exchange) => {
        exchange.startStream();
        exchange.event(hello);
      },
      { idleMs: 100 },
      "next event",
    ],
    [
      "chunks for ever",
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

  test("a plain answer has the whole time", async () => {
    const { driver, attempt } = await serve(
      (exchange) => {
        setTimeout(
          () =>
            exchange.response
              .writeHead(200, { "content-type": "application/json" })
              .end('{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}'),
          150,
        );
      },
      { firstEventMs: 50, idleMs: 50 },
    );
    expect((await run(driver, attempt({ stream: false }))).text()).toBe("x");
  });
});

describe("cancel", () => {
  test.each<[string, (exchange: FakeExchange) => void]>([
    ["before the head", () => undefined],
    [
      "after the head",
      (exchange) => {
        exchange.startStream();
        exchange.response.flushHeaders();
      },
    ],
    [
      "in the midst of text",
      (exchange) => {
        exchange.startStream();
        exchange.event(hello);
      },
    ],
  ])("%s closes the connection, and says nothing", async (_, generate) => {
    const { driver, attempt, engine } = await serve(generate);
    const { outcome, cancel } = start(driver, attempt());
    while (engine.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
    cancel();
    cancel();
    await engine.requests[0]?.left;
    expect(outcome).toMatchObject({ ended: false, failure: undefined, late: 0 });
  });

  test("before the connection stands sends nothing", async () => {
    const { attempt, engine } = await serve(stream(events(hello, stop)));
    // One that has asked nothing so far has no connection.
    const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(engine.url)));
    start(driver, attempt()).cancel();
    await run(driver, attempt());
    expect(engine.requests).toHaveLength(1);
  });
});

test("a reader that is full stops the engine's stream, and loses nothing", async () => {
  const count = 4_000;
  const filler = "x".repeat(4_000);
  let written = 0;
  const { driver, attempt } = await serve((exchange) => {
    exchange.startStream();
    const more = () => {
      while (written < count) {
        written += 1;
        if (!exchange.response.write(events(chatChunk({ content: filler }))))
          return void exchange.response.once("drain", more);
      }
      exchange.response.end(`${events(stop)}data: [DONE]\n\n`);
    };
    more();
  });
  const outcome = new Outcome();
  outcome.isFull = true;
  start(driver, attempt(), outcome);
  await outcome.until(() => outcome.deltas.length > 0);
  while (!outcome.resume) await new Promise((resolve) => setImmediate(resolve));
  // Until the sockets' buffers are full the engine still writes.
  let before = -1;
  while (before !== written) {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const held = outcome.deltas.length;
  expect(held).toBeLessThan(count / 4);
  expect(written).toBeLessThan(count);
  outcome.isFull = false;
  outcome.resume();
  await outcome.done;
  expect(outcome.ended).toBe(true);
  expect(outcome.text().length).toBe(count * filler.length);
});

test("requests on one server run side by side, on connections that are used again", async () => {
  const { driver, attempt, engine } = await serve((exchange) => {
    exchange.startStream();
    exchange.event(chatChunk({ content: String(exchange.headers["x-request-id"]) }));
    setTimeout(() => {
      exchange.event(stop);
      exchange.done();
    }, 20);
  });
  // A server is found to keep its connections after streams by one that stands 50 ms later.
  for (let first = 0; first < 2; first += 1) {
    await run(driver, attempt());
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  for (let round = 0; round < 3; round += 1) {
    const attempts = Array.from({ length: 8 }, () => attempt());
    const outcomes = await Promise.all(attempts.map((one) => run(driver, one)));
    expect(outcomes.map((outcome) => outcome.text())).toEqual(attempts.map((one) => one.id));
  }
  expect(engine.connections.size).toBeLessThanOrEqual(9);
});
