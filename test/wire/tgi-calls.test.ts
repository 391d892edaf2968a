import { afterAll, describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { chatChunk } from "../fakes/fake-openai.ts";
import { type FakeExchange, startFakeTgi, tgiInfo } from "../fakes/fake-tgi.ts";
import { startSimulator } from "../../services/simulator/simulator.ts";
import { attemptAt, type Outcome, run, targetAt } from "./attempts.ts";
import { calm, countAttempt } from "./unary-calls.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const wish = {
  input: {
    case: "conversation" as const,
    value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "hi" } }] }] },
  },
  tools: [{ name: "gauge" }],
};

async function serve(generate: (exchange: FakeExchange) => void, version = "3.3.7") {
  const routes = { "/info": { ...tgiInfo, version }, "/health": "" };
  const engine = cleanup.use(await startFakeTgi({ generate, routes }));
  const driver = cleanup.use(openDriver(Dialect.TGI, targetAt(engine.url)));
  const [model] = (await driver.probe(AbortSignal.timeout(5_000))).models;
  if (!model) throw new Error("the fake has no model");
  return { engine, ask: (more = {}) => run(driver, attemptAt(model, { ...wish, ...more })) };
}

const stream =
  (chunks: readonly unknown[], end = "data:[DONE]\n\n") =>
  (exchange: FakeExchange) => {
    exchange.startStream();
    exchange.response.end(chunks.map((one) => `data:${JSON.stringify(one)}\n\n`).join("") + end);
  };
const call = (name: string | null, text: string) => ({
  tool_calls: [{ index: 0, id: "0", type: "function", function: { name, arguments: text } }],
});
const usage = { choices: [], usage: { prompt_tokens: 3, completion_tokens: 9 } };
const callsOf = ({ deltas }: Outcome) =>
  deltas.flatMap(({ fragment }) => (fragment.case === "toolCall" ? [fragment.value] : []));
const argumentsOf = (outcome: Outcome) =>
  callsOf(outcome)
    .map((one) => one.arguments)
    .join("");

describe("a streamed call", () => {
  const told = [
    chatChunk(call("gauge", "{")),
    chatChunk(call(null, '"river": "')),
    chatChunk(call(null, "Elbe")),
    chatChunk(call(null, '"}')),
  ];

  test("ends for no reason: with the usage after its last brace", async () => {
    const { ask } = await serve(stream([...told, usage]));
    const outcome = await ask();
    expect([outcome.reason, outcome.finish(), outcome.ended]).toEqual([undefined, "TOOL_CALLS", true]);
    expect(argumentsOf(outcome)).toBe('{"river": "Elbe"}');
    expect(outcome.usage).toMatchObject({ promptTokens: 3n, completionTokens: 9n });
  });

  test("ends for no reason: with [DONE]", async () => {
    const outcome = await (await serve(stream(told))).ask();
    expect([outcome.reason, outcome.finish(), argumentsOf(outcome)]).toEqual([
      undefined,
      "TOOL_CALLS",
      '{"river": "Elbe"}',
    ]);
  });

  test("that breaks off is cut short", async () => {
    const outcome = await (await serve(stream(told.slice(0, 3), ""))).ask();
    expect([outcome.reason, outcome.late]).toEqual(["ENGINE_TRUNCATED", 0]);
  });

  test("that was too long says so", async () => {
    const length = chatChunk(call(null, "Elb"), "length");
    const outcome = await (await serve(stream([...told.slice(0, 2), length, usage]))).ask();
    expect([outcome.reason, outcome.finish()]).toEqual([undefined, "LENGTH"]);
  });

  test("has an id of its own, where all have the same", async () => {
    const outcome = await (await serve(stream([...told, usage]))).ask();
    const [first, ...others] = callsOf(outcome);
    expect(first?.id).toMatch(/^call_.+_0_0$/);
    expect(others.map(({ id }) => id)).toEqual(["", "", ""]);
  });

  test("is none where the model says a text, which has to end for a reason", async () => {
    const text = [chatChunk({ content: "no call" })];
    expect((await (await serve(stream([...text, usage]))).ask()).reason).toBe("ENGINE_TRUNCATED");
    const outcome = await (await serve(stream([...text, chatChunk({ content: "" }, "stop"), usage]))).ask();
    expect([outcome.text(), outcome.finish()]).toEqual(["no call", "STOP"]);
  });
});

describe("a server before 3.2, which streams the text of its grammar", () => {
  const message = {
    role: "assistant",
    tool_calls: [
      { id: 0, type: "function", function: { description: null, name: "gauge", arguments: { river: "Elbe" } } },
    ],
  };
  const whole = (finish: string) => (exchange: FakeExchange) =>
    void exchange.response.writeHead(200, { "content-type": "application/json", "x-prompt-tokens": "7" }).end(
      JSON.stringify({
        choices: [{ index: 0, message, finish_reason: finish }],
        usage: { prompt_tokens: 0, completion_tokens: 9, total_tokens: 9 },
      }),
    );

  test.each([
    ["2.3.1", "eos_token"],
    ["2.4.1-dev0", "stop"],
    ["3.1.1", "stop"],
  ])("is asked for calls at once: %s", async (version, finish) => {
    const { engine, ask } = await serve(whole(finish), version);
    const outcome = await ask();
    expect([outcome.reason, outcome.finish(), argumentsOf(outcome)]).toEqual([
      undefined,
      "TOOL_CALLS",
      '{"river":"Elbe"}',
    ]);
    expect(callsOf(outcome)[0]).toMatchObject({ name: "gauge", id: expect.stringMatching(/^call_.+_0_0$/) });
    expect(outcome.usage).toMatchObject({ promptTokens: 7n, completionTokens: 9n });
    expect(engine.requests[0]?.body).toMatchObject({ stream: false });
  });

  test("streams what has no calls", async () => {
    const { engine, ask } = await serve(stream([chatChunk({ content: "hi" }, "stop"), usage]), "3.1.1");
    expect((await ask({ tools: [] })).text()).toBe("hi");
    expect(engine.requests[0]?.body).toMatchObject({ stream: true });
  });
});

test.each(["3.2.0", "3.2.0-dev0", "4.0", "", "nightly"])("calls are streamed by version %j", async (version) => {
  const { engine, ask } = await serve(stream([usage]), version);
  await ask();
  expect(engine.requests[0]?.body).toMatchObject({ stream: true });
});

describe("a conversation with functions, and calls before", () => {
  const text = (value: string) => [{ part: { case: "text" as const, value } }];
  const input = {
    case: "conversation" as const,
    value: {
      messages: [
        { role: Role.DEVELOPER, parts: text("be short") },
        { role: Role.USER, parts: text("how high is it?") },
        { role: Role.ASSISTANT, parts: text("let me see"), toolCalls: [{ id: "1", name: "gauge", arguments: "{}" }] },
        { role: Role.TOOL, toolCallId: "1", parts: text("3 m") },
      ],
    },
  };
  // The second one takes no arguments, and has no schema that says so.
  const parametersJson = '{"type":"object","properties":{"river":{"type":"string"}}}';
  const tools = [{ name: "gauge", description: "The height of a river", parametersJson }, { name: "now" }];

  test("is counted as it is generated from", async () => {
    await using simulator = await startSimulator({ tgi: { port: 0 } });
    await using driver = openDriver(Dialect.TGI, targetAt(simulator.tgiUrl));
    const [model] = (await driver.probe(calm)).models;
    if (!model) throw new Error("the simulator has no model");
    const count = async (of: typeof tools) =>
      await driver.countTokens?.(countAttempt(input, model, undefined, of), calm);
    const counted = await count(tools);
    expect(counted).toBeGreaterThan((await count([])) ?? 0);
    const outcome = await run(driver, attemptAt(model, { input, tools }));
    expect([outcome.reason, Number(outcome.usage?.promptTokens)]).toEqual([undefined, counted]);
  });

  test("goes to be counted with a schema for each function, and the calls apart from the text", async () => {
    const answer = { tokenize_response: [{ id: 1, text: "", start: 0, stop: 0 }], templated_text: "" };
    const generate = ({ response }: FakeExchange) =>
      void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
    const engine = cleanup.use(await startFakeTgi({ generate, questions: {} }));
    await using driver = openDriver(Dialect.TGI, targetAt(engine.url));
    expect(await driver.countTokens?.(countAttempt(input, undefined, undefined, tools), calm)).toBe(1);
    const called = { id: "1", type: "function", function: { name: "gauge", arguments: "{}" } };
    expect(engine.requests[0]).toMatchObject({
      path: "/chat_tokenize",
      body: {
        model: "tgi",
        messages: [
          { role: "system", content: "be short" },
          { role: "user", content: "how high is it?" },
          { role: "assistant", content: "let me see" },
          { role: "assistant", tool_calls: [called] },
          { role: "tool", tool_call_id: "1", content: "3 m" },
        ],
        tools: [
          { type: "function", function: { name: "gauge", parameters: JSON.parse(parametersJson) } },
          { type: "function", function: { name: "now", parameters: { type: "object", properties: {} } } },
        ],
      },
    });
  });
});
