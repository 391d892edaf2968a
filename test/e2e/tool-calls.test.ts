import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Gateway, startGateway } from "../fakes/gateway.ts";
import { openFolder } from "../fakes/open-folder.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";

let engine: SimulatorProcess;
let gateway: Gateway;
let client: OpenAI;

// Shows the model its functions, what it called and what came of it, as published templates do.
const template = `{% for tool in tools or [] %}<|tool|>{{ tool.function | tojson }}
{% endfor %}{% for m in messages %}<|{{ m.role }}|>{{ m.content or '' }}{% for call in m.tool_calls or [] %}<|call|>{{ call.id }} {{ call.function.name }} {{ call.function.arguments | tojson }}{% endfor %}
{% endfor %}<|assistant|>`;

/** Every way to write calls, with thought in the way that such models mark it. */
const families = [
  { tools: "hermes", thinks: "qwen3", written: "hermes", thought: "tags" },
  { tools: "qwen", thinks: "qwen3", written: "qwen", thought: "tags" },
  { tools: "llama3", thinks: "granite", written: "llama3", thought: "granite" },
  { tools: "mistral", thinks: "mistral", written: "mistral", thought: "mistral" },
  { tools: "mistral", thinks: "mistral", written: "mistral_list", thought: "mistral" },
  { tools: "pythonic", thinks: "deepseek_r1", written: "pythonic", thought: "untagged" },
  { tools: "deepseek", thinks: "deepseek_r1", written: "deepseek", thought: "untagged" },
  { tools: "kimi", thinks: "kimi", written: "kimi", thought: "tags" },
  { tools: "glm", thinks: "glm", written: "glm", thought: "tags" },
];
/** Each way over two engines, and each engine. */
const rows = [
  ...families.map((family) => ({ ...family, engine: "triton" })),
  ...families.map((family) => ({ ...family, engine: "tgis" })),
  ...families.slice(0, 2).flatMap((family) => ["blocks", "vllm"].map((name) => ({ ...family, engine: name }))),
];

beforeAll(async () => {
  engine = await startSimulatorProcess(["--decode-ms", "1", "--prefill-ms", "0"]);
  const file = join(await openFolder("weir-templates-"), "template.jinja");
  await writeFile(file, template);
  const model = (name: string, served: string, { tools, thinks }: (typeof families)[number]) =>
    `  - { id: ${name}-${tools}, pool: ${name}, engine_model: ${served}, chat_template: "${file}", tool_parser: ${tools}, reasoning_parser: ${thinks} }`;
  const distinct = families.filter(({ written }) => written !== "mistral_list");
  gateway = await startGateway(`pools:
  - { id: triton, replicas: [{ url: "${engine.grpcUrl}" }] }
  - { id: blocks, replicas: [{ url: "${engine.grpcUrl}" }] }
  - { id: tgis, replicas: [{ url: "${engine.tgisUrl}" }] }
  - { id: vllm, replicas: [{ url: "${engine.vllmUrl}" }] }
models:
${distinct.flatMap((family) => [model("triton", "ensemble", family), model("blocks", "vllm_model", family), model("tgis", "tgis", family), model("vllm", "weir-sim", family)]).join("\n")}
`);
  client = new OpenAI({ apiKey: gateway.key, baseURL: `http://127.0.0.1:${gateway.port}/v1`, maxRetries: 0 });
}, 60_000);
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await engine?.[Symbol.asyncDispose]();
});

const tools: OpenAI.ChatCompletionTool[] = [
  {
    type: "function",
    function: {
      name: "gauge",
      parameters: {
        type: "object",
        properties: { river: { type: "string" }, days: { type: "integer" }, at: { type: "array" } },
      },
    },
  },
  { type: "function", function: { name: "ping", parameters: { type: "object", properties: {} } } },
];
const wanted = { river: 'El"be – 水\n🌊', days: 3, at: [1, null, true, { x: "y" }] };

function wish(model: string, content: string): OpenAI.ChatCompletionCreateParamsNonStreaming {
  return { model, tools, messages: [{ role: "user", content }] };
}

interface Thinking {
  readonly reasoning_content?: string;
}

describe("an engine that only continues texts", () => {
  it.each(rows)("calls functions and thinks: $engine, $written", async ({ engine: name, ...family }) => {
    const content = `[[sim think ${family.thought}]][[sim call ${family.written} gauge ${JSON.stringify(wanted)}]][[sim call ${family.written} ping {}]]`;
    const body = wish(`${name}-${family.tools}`, content);
    const whole = await client.chat.completions.create(body);
    const [choice] = whole.choices;
    expect(choice?.finish_reason).toBe("tool_calls");
    expect(choice?.message.content).toBeNull();
    expect((choice?.message as Thinking | undefined)?.reasoning_content).toBe(
      "The weir is upstream – 水 runs, so I ask.",
    );
    const calls = choice?.message.tool_calls?.flatMap((call) => (call.type === "function" ? call : [])) ?? [];
    expect(calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)])).toEqual([
      ["gauge", wanted],
      ["ping", {}],
    ]);
    expect(new Set(calls.map(({ id }) => id)).size).toBe(2);

    const stream = client.chat.completions.stream({ ...body, stream: true, stream_options: { include_usage: true } });
    let thought = "";
    let pieces = 0;
    stream.on("chunk", (chunk) => {
      const delta = chunk.choices[0]?.delta;
      thought += (delta as Thinking | undefined)?.reasoning_content ?? "";
      pieces += delta?.tool_calls?.length ?? 0;
    });
    const streamed = await stream.finalChatCompletion();
    expect(thought).toBe((choice?.message as Thinking | undefined)?.reasoning_content);
    expect(streamed.choices[0]?.finish_reason).toBe("tool_calls");
    expect(
      streamed.choices[0]?.message.tool_calls?.map((call) => (call.type === "function" ? call.function : call)),
    ).toMatchObject(calls.map((call) => call.function));
    // Arguments come as they are written.
    expect(pieces).toBeGreaterThan(5);
    // What the engine counted, with all that nobody sees.
    expect(streamed.usage?.completion_tokens).toBe(whole.usage?.completion_tokens);
    expect(whole.usage?.completion_tokens_details?.reasoning_tokens).toBeGreaterThan(0);
  });
});

it("takes its own calls back, with what came of them", async () => {
  const first = await client.chat.completions.create(wish("triton-hermes", '[[sim call hermes gauge {"days": 3}]]'));
  const message = first.choices[0]?.message;
  const id = message?.tool_calls?.[0]?.id ?? "";
  const body = wish("triton-hermes", "How high?");
  const second = await client.chat.completions.create({
    ...body,
    messages: [...body.messages, message!, { role: "tool", tool_call_id: id, content: "[[sim text 3 m.]]" }],
  });
  expect(second.choices[0]).toMatchObject({ finish_reason: "stop", message: { content: "3 m." } });
});

it("ends a call that the token limit cuts with its length", async () => {
  const content = '[[sim text I look.]][[sim call hermes gauge {"river": "a long name of a river"}]]';
  const { choices, usage } = await client.chat.completions.create({
    ...wish("triton-hermes", content),
    max_tokens: 20,
  });
  expect(choices[0]).toMatchObject({ finish_reason: "length", message: { content: "I look." } });
  const call = choices[0]?.message.tool_calls?.[0];
  expect(call).toMatchObject({ function: { name: "gauge", arguments: expect.stringMatching(/^\{"river": "a/) } });
  expect(usage?.completion_tokens).toBe(20);
});

it("says what can't be promised, and refuses what can't be done", async () => {
  const { response } = await client.chat.completions
    .create({ ...wish("tgis-hermes", "x"), parallel_tool_calls: false, max_tokens: 2 })
    .withResponse();
  expect(response.headers.get("x-weir-ignored")).toBe("parallel_tool_calls");
  const forced = client.chat.completions.create({ ...wish("tgis-hermes", "x"), tool_choice: "required" });
  await expect(forced).rejects.toMatchObject({ status: 400, param: "tool_choice" });
});
