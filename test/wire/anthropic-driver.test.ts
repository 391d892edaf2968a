import type { MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { type MessageSchema, Role, ToolChoiceMode } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Attempt } from "../../services/drivers/driver.ts";
import { detectDialect, openDriver } from "../../services/drivers/registry.ts";
import {
  type FakeExchange,
  messageEnd,
  messageStart,
  named,
  startFakeAnthropic,
  textBlock,
} from "../fakes/fake-anthropic.ts";
import { startFakeOpenAi } from "../fakes/fake-openai.ts";
import { attemptAt, run, targetAt } from "./attempts.ts";
import { countAttempt } from "./unary-calls.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

type Message = Omit<MessageInitShape<typeof MessageSchema>, "$typeName">;

const text = (value: string) => ({ part: { case: "text" as const, value } });
const said = (role: Role, ...values: string[]): Message => ({ role, parts: values.map(text) });
const conversation = (...messages: Message[]) => ({ input: { case: "conversation" as const, value: { messages } } });
const hi = conversation(said(Role.USER, "hi"));

async function ask(
  request: Parameters<typeof attemptAt>[1],
  answer: string = messageStart() + textBlock("hello") + messageEnd(),
  more: Partial<Attempt> = {},
) {
  const generate = (exchange: FakeExchange) => {
    exchange.startStream();
    exchange.response.end(answer);
  };
  const engine = cleanup.use(await startFakeAnthropic({ generate }));
  const driver = cleanup.use(openDriver(Dialect.ANTHROPIC, targetAt(engine.url, { engineKey: "our-key" })));
  const [model] = (await driver.probe(AbortSignal.timeout(5_000))).models;
  if (!model) throw new Error("the fake has no model");
  const outcome = await run(driver, attemptAt(model, request, more));
  return { outcome, engine, body: engine.requests[0]?.body ?? {} };
}

describe("what is sent", () => {
  test("has the version, the key where this API wants it, and the least that it must have", async () => {
    const { body, engine } = await ask(hi, undefined, { maxTokens: 0 });
    expect(body).toEqual({
      model: "fake",
      max_tokens: 4_096,
      messages: [{ role: "user", content: [{ type: "text", text: "hi" }] }],
      stream: true,
    });
    const { headers, path } = engine.requests[0] ?? {};
    expect([path, headers]).toMatchObject([
      "/v1/messages",
      { "x-api-key": "our-key", "anthropic-version": "2023-06-01" },
    ]);
    expect(headers).not.toHaveProperty("authorization");
  });

  test("instructions stand apart at the beginning, and in their place later", async () => {
    const { body } = await ask(
      conversation(
        said(Role.SYSTEM, "be kind"),
        said(Role.DEVELOPER, "be short"),
        said(Role.USER, "hi"),
        said(Role.SYSTEM, "be brief"),
        said(Role.ASSISTANT, ""),
        said(Role.USER, "you"),
        said(Role.USER, "there"),
      ),
    );
    expect(body["system"]).toEqual([
      { type: "text", text: "be kind" },
      { type: "text", text: "be short" },
    ]);
    expect(body["messages"]).toEqual([
      { role: "user", content: [{ type: "text", text: "hi" }] },
      { role: "system", content: [{ type: "text", text: "be brief" }] },
      {
        role: "user",
        content: [
          { type: "text", text: "you" },
          { type: "text", text: "there" },
        ],
      },
    ]);
  });

  test("calls and their results, which are one turn of the user", async () => {
    const calls = [
      { id: "functions.f:0", name: "f", arguments: '{"a":1}' },
      { id: "two", name: "g", arguments: "" },
    ];
    const { body } = await ask({
      ...conversation(
        said(Role.USER, "hi"),
        { role: Role.ASSISTANT, parts: [text("let me see")], toolCalls: calls },
        { role: Role.TOOL, toolCallId: "functions.f:0", parts: [text("sunny")] },
        { role: Role.TOOL, toolCallId: "two", parts: [] },
        said(Role.USER, "so?"),
      ),
      tools: [
        { name: "f", description: "does", parametersJson: '{"type":"object","properties":{"a":{}}}', strict: true },
        { name: "g" },
      ],
      parallelToolCalls: false,
    });
    expect(body["messages"]).toMatchObject([
      {},
      {
        role: "assistant",
        content: [
          { type: "text", text: "let me see" },
          { type: "tool_use", id: "functions_f_0", name: "f", input: { a: 1 } },
          { type: "tool_use", id: "two", name: "g", input: {} },
        ],
      },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "functions_f_0", content: [{ type: "text", text: "sunny" }] },
          { type: "tool_result", tool_use_id: "two" },
          { type: "text", text: "so?" },
        ],
      },
    ]);
    expect(body["tools"]).toEqual([
      { name: "f", description: "does", input_schema: { type: "object", properties: { a: {} } }, strict: true },
      { name: "g", input_schema: { type: "object" } },
    ]);
    expect(body["tool_choice"]).toEqual({ type: "auto", disable_parallel_tool_use: true });
  });

  test.each([
    [ToolChoiceMode.REQUIRED, [], { type: "any" }],
    [ToolChoiceMode.NONE, [], { type: "none" }],
    [ToolChoiceMode.FUNCTION, ["f"], { type: "tool", name: "f" }],
  ])("a choice of functions %#", async (mode, names, choice) => {
    const { body } = await ask({ ...hi, tools: [{ name: "f" }, { name: "g" }], toolChoice: { mode, names } });
    expect(body["tool_choice"]).toEqual(choice);
  });

  test("pictures and documents", async () => {
    const parts = [
      { part: { case: "image" as const, value: { url: "data:image/png;base64,AAAA" } } },
      { part: { case: "image" as const, value: { url: "https://example.org/x.png" } } },
      { part: { case: "file" as const, value: { dataUrl: "data:application/pdf;base64,BBBB", filename: "a.pdf" } } },
      { part: { case: "file" as const, value: { dataUrl: "data:text/csv;base64,aGk=" } } },
    ];
    const { body } = await ask(conversation({ role: Role.USER, parts }));
    expect(body["messages"]).toEqual([
      {
        role: "user",
        content: [
          { type: "image", source: { type: "base64", media_type: "image/png", data: "AAAA" } },
          { type: "image", source: { type: "url", url: "https://example.org/x.png" } },
          {
            type: "document",
            source: { type: "base64", media_type: "application/pdf", data: "BBBB" },
            title: "a.pdf",
          },
          { type: "document", source: { type: "text", media_type: "text/plain", data: "hi" } },
        ],
      },
    ]);
  });

  test("sampling without what is neutral, thought, and a form", async () => {
    const { body } = await ask({
      ...hi,
      sampling: { temperature: 0.5, topP: 1, topK: 0, stop: ["END", "\n\n"] },
      reasoningEffort: "minimal",
      responseFormat: { form: { case: "jsonSchema", value: { name: "x", schemaJson: '{"type":"object"}' } } },
    });
    expect(body).toMatchObject({
      temperature: 0.5,
      stop_sequences: ["END"],
      thinking: { type: "adaptive" },
      output_config: { effort: "low", format: { type: "json_schema", schema: { type: "object" } } },
    });
    expect(Object.keys(body)).not.toEqual(expect.arrayContaining(["top_p"]));
    expect(Object.keys(body)).not.toEqual(expect.arrayContaining(["top_k"]));
    expect((await ask({ ...hi, reasoningEffort: "none" })).body["thinking"]).toEqual({ type: "disabled" });
  });

  test.each<[string, Parameters<typeof attemptAt>[1]]>([
    ["seed", { ...hi, sampling: { seed: 1n } }],
    ["temperature", { ...hi, sampling: { temperature: 1.5 } }],
    ["stop_token_ids", { ...hi, sampling: { stopTokenIds: [1] } }],
    ["logprobs", { ...hi, logprobs: { top: 1 } }],
    ["prompt", { input: { case: "prompt", value: "once" } }],
    ["response_format", { ...hi, responseFormat: { form: { case: "jsonObject", value: {} } } }],
    ["messages", conversation({ role: Role.USER, parts: [{ part: { case: "file", value: { fileId: "file-1" } } }] })],
  ])("%s has no place, and is refused by name", async (param, request) => {
    const { outcome, engine } = await ask(request);
    expect([outcome.reason, outcome.failure?.facts["param"], engine.requests.length]).toEqual([
      "UNSUPPORTED",
      param,
      0,
    ]);
  });

  test("arguments that are no JSON are the caller's fault", async () => {
    const toolCalls = [{ id: "a", name: "f", arguments: "{" }];
    const { outcome } = await ask(conversation(said(Role.USER, "hi"), { role: Role.ASSISTANT, toolCalls }));
    expect(outcome.reason).toBe("INVALID_ARGUMENT");
  });
});

describe("what is read", () => {
  const block = (index: number, content: object, ...deltas: object[]) =>
    named("content_block_start", { index, content_block: content }) +
    deltas.map((delta) => named("content_block_delta", { index, delta })).join("") +
    named("content_block_stop", { index });

  test("thought, then text, then calls in their order", async () => {
    const json = (partial_json: string) => ({ type: "input_json_delta", partial_json });
    const { outcome } = await ask(
      { ...hi, tools: [{ name: "f" }, { name: "g" }] },
      messageStart() +
        block(
          0,
          { type: "thinking", thinking: "", signature: "" },
          { type: "thinking_delta", thinking: "hm" },
          { type: "signature_delta", signature: "c2ln" },
        ) +
        textBlock("so: ", 1) +
        block(2, { type: "tool_use", id: "t1", name: "f", input: {} }, json(""), json('{"a"'), json(":1}")) +
        block(3, { type: "tool_use", id: "t2", name: "g", input: {} }) +
        messageEnd("tool_use"),
    );
    expect([outcome.text(0, "reasoning"), outcome.text(), outcome.finish()]).toEqual(["hm", "so: ", "TOOL_CALLS"]);
    const calls = outcome.deltas.flatMap(({ fragment }) => (fragment.case === "toolCall" ? [fragment.value] : []));
    expect(calls.map(({ index, id, name, arguments: args }) => [index, id, name, args])).toEqual([
      [0, "t1", "f", ""],
      [0, "", "", '{"a"'],
      [0, "", "", ":1}"],
      [1, "t2", "g", ""],
      [1, "", "", "{}"],
    ]);
  });

  test.each([
    ["end_turn", "STOP"],
    ["stop_sequence", "STOP"],
    ["pause_turn", "STOP"],
    ["max_tokens", "LENGTH"],
    ["model_context_window_exceeded", "LENGTH"],
    ["refusal", "CONTENT_FILTER"],
  ])("the end %s is %s", async (reason, finish) => {
    const { outcome } = await ask(hi, messageStart() + textBlock("x") + messageEnd(reason));
    expect(outcome.finish()).toBe(finish);
  });

  test("counts are of all so far, and later ones replace earlier ones", async () => {
    const start = messageStart({ input_tokens: 3, cache_read_input_tokens: 10, output_tokens: 1 });
    const end = messageEnd("end_turn", { input_tokens: 4, output_tokens: 7 });
    const { outcome } = await ask(hi, start + textBlock("x") + end);
    expect(outcome.usage).toMatchObject({ promptTokens: 14n, cachedTokens: 10n, completionTokens: 7n });
  });

  test("a stop text of white space is found here, and the API is left", async () => {
    const answer = messageStart() + textBlock("one\n\ntwo") + textBlock("three", 1) + messageEnd();
    const { outcome } = await ask({ ...hi, sampling: { stop: ["\n\n"] } }, answer);
    expect([outcome.text(), outcome.finish(), outcome.late]).toEqual(["one", "STOP", 0]);
    expect(outcome.usage).toMatchObject({ promptTokens: 3n, completionTokens: 0n });
  });
});

describe("a count", () => {
  const counted = async (answer: unknown, input: Parameters<typeof countAttempt>[0] = hi.input) => {
    const questions = { "/v1/messages/count_tokens": answer };
    const engine = cleanup.use(await startFakeAnthropic({ questions }));
    const driver = cleanup.use(openDriver(Dialect.ANTHROPIC, targetAt(engine.url)));
    const [model] = (await driver.probe(AbortSignal.timeout(5_000))).models;
    if (!model) throw new Error("the fake has no model");
    return driver.countTokens?.(countAttempt(input, model), AbortSignal.timeout(5_000));
  };

  test("is what the API says", async () => {
    expect(await counted({ input_tokens: 12 })).toBe(12);
  });

  test.each<[string, unknown]>([
    ["no number", { input_tokens: "12" }],
    ["a negative one", { input_tokens: -1 }],
    ["nothing", {}],
    ["no JSON", "hello"],
    ["an error inside a 200", { type: "error", error: { type: "api_error", message: "no" } }],
  ])("that is %s fails", async (_, answer) => {
    await expect(counted(answer)).rejects.toMatchObject({ facts: { model: "caller-model" } });
  });

  test("of a text there is none", async () => {
    const asked = counted({ input_tokens: 1 }, { case: "prompt", value: "x" });
    await expect(asked).rejects.toMatchObject({ facts: { param: "prompt" } });
  });
});

describe("a server of this dialect", () => {
  const found = async (routes: Record<string, unknown>) => {
    const server = cleanup.use(await startFakeAnthropic({ routes }));
    return detectDialect(targetAt(server.url), AbortSignal.timeout(5_000));
  };
  const refusing = (body: string) => (response: { writeHead(code: number): { end(text: string): void } }) =>
    response.writeHead(401).end(body);

  test("is known by its list, also with no model on it, and by how it refuses a key", async () => {
    const list = { data: [], has_more: false, first_id: null, last_id: null };
    expect(await found({ "/v1/models?limit=1": list })).toBe(Dialect.ANTHROPIC);
    const refused = '{"type":"error","error":{"type":"authentication_error","message":"x"}}';
    expect(await found({ "/v1/models?limit=1": refusing(refused), "/v1/models": refusing(refused) })).toBe(
      Dialect.ANTHROPIC,
    );
  });

  test("is not one of OpenAI's, which refuses a key in another form", async () => {
    const refused = refusing('{"error":{"message":"x","type":"invalid_request_error"}}');
    expect(await found({ "/v1/models?limit=1": refused, "/v1/models": refused })).toBe(Dialect.OPENAI);
    const openai = cleanup.use(await startFakeOpenAi());
    expect(await detectDialect(targetAt(openai.url), AbortSignal.timeout(5_000))).toBe(Dialect.OPENAI);
  });

  test("lists its models page by page", async () => {
    const page = (id: string, has_more: boolean) => ({ data: [{ type: "model", id }], has_more, last_id: id });
    const routes = {
      "/v1/models?limit=1000": page("one", true),
      "/v1/models?limit=1000&after_id=one": page("two", false),
    };
    const server = cleanup.use(await startFakeAnthropic({ routes }));
    const driver = cleanup.use(openDriver(Dialect.ANTHROPIC, targetAt(server.url)));
    const { models } = await driver.probe(AbortSignal.timeout(5_000));
    expect(models.map(({ engineModel }) => engineModel)).toEqual(["one", "two"]);
  });
});
