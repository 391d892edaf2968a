import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Gateway, startGateway } from "../fakes/gateway.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";
import { clientOf, scenarios } from "./openai-scenarios.ts";

let engine: SimulatorProcess;
let tail: RecordTail;
let gateway: Gateway;

beforeAll(async () => {
  engine = await startSimulatorProcess(["--decode-ms", "2", "--prefill-ms", "0"]);
  tail = new RecordTail(engine.recordPath);
  // The dialects are found by asking.
  gateway = await startGateway(`pools:
  - { id: tgi, replicas: [{ url: "${engine.tgiUrl}" }] }
  - { id: anthropic, hosted: true, engine_key: key-canary-1234, replicas: [{ url: "${engine.anthropicUrl}" }] }
  - { id: locked, engine_key: bad-key, replicas: [{ url: "${engine.anthropicUrl}", dialect: anthropic }] }
models:
  - { id: tgi, pool: tgi, engine_model: weir-sim }
  - { id: anthropic, pool: anthropic, engine_model: weir-sim, context_length: 8192 }
  - { id: locked, pool: locked, engine_model: weir-sim }
`);
}, 60_000);
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  tail?.[Symbol.dispose]();
  await engine?.[Symbol.asyncDispose]();
});

const targetOf = (model: string) => ({ url: gateway.weir.url, apiKey: gateway.key, model });
const question = [{ role: "user" as const, content: "tell me of the river" }];

/** What the official client does that an engine can't serve, with the parameter that it is told of. */
const lacks: Readonly<Record<string, readonly string[]>> = {
  // Its grammar takes no schema without properties.
  tgi: ["an answer in JSON"],
  // It continues no prompts, and tells no probabilities.
  anthropic: ["log probabilities", "completions of several prompts, in one piece and streamed"],
};
const rows = Object.entries(lacks).flatMap(([model, without]) =>
  Object.keys(scenarios)
    .filter((name) => !without.includes(name))
    .map((name) => ({ model, name })),
);

describe("the official client, through the gateway", () => {
  it.each(rows)("$model: $name", async ({ model, name }) => {
    await expect(scenarios[name]?.(targetOf(model))).resolves.toBeUndefined();
  });

  it.each(Object.keys(lacks))("%s: JSON of a schema", async (model) => {
    const schema = {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    };
    const answer = await clientOf(targetOf(model)).chat.completions.create({
      model,
      messages: question,
      response_format: { type: "json_schema", json_schema: { name: "city", schema } },
    });
    expect(JSON.parse(answer.choices[0]?.message.content ?? "")).toEqual({ city: "river" });
  });

  it.each(Object.keys(lacks))("%s: several choices count their prompt once", async (model) => {
    const ask = (n: number) => clientOf(targetOf(model)).chat.completions.create({ model, messages: question, n });
    const [one, three] = [await ask(1), await ask(3)];
    expect(three.choices).toHaveLength(3);
    expect(three.usage?.prompt_tokens).toBe(one.usage?.prompt_tokens);
  });

  it.each(Object.keys(lacks))("%s: a prompt beyond the context is the caller's fault", async (model) => {
    const messages = [{ role: "user" as const, content: "x".repeat(40_000) }];
    const asked = clientOf(targetOf(model)).chat.completions.create({ model, messages });
    await expect(asked).rejects.toMatchObject({ status: 400, code: "context_length_exceeded" });
  });

  it.each(Object.keys(lacks))("%s: who leaves stops the engine", async (model) => {
    const messages = [{ role: "user", content: "[[sim length=5000]] all of it" }];
    const request = gateway.ask("/v1/chat/completions", { model, messages, stream: true, max_tokens: 5_000 });
    await eventually("it runs", () => tail.open().length === 1);
    request.socket.destroy();
    await expect.poll(() => tail.open().length).toBe(0);
  });
});

describe("a hosted API", () => {
  const ask = (more: object) =>
    clientOf(targetOf("anthropic")).chat.completions.create({ model: "anthropic", messages: question, ...more });

  it.each([
    ["logprobs", { logprobs: true }],
    ["seed", { seed: 1 }],
    ["frequency_penalty", { frequency_penalty: 1 }],
  ])("refuses %s by name", async (param, more) => {
    await expect(ask(more)).rejects.toMatchObject({ status: 400, param });
  });

  it("thinks, and its thought is apart from its text", async () => {
    const { choices } = await ask({ reasoning_effort: "high" });
    const message = choices[0]?.message as { content: string; reasoning_content?: string; reasoning?: string };
    expect(message.reasoning_content ?? message.reasoning).toMatch(/\w/);
    expect(message.content).toMatch(/\w/);
  });

  it("goes on thinking after it has called a function, without the thought that came before", async () => {
    const tools = [
      { type: "function" as const, function: { name: "f", parameters: { type: "object", properties: {} } } },
    ];
    const messages = [{ role: "user" as const, content: "[[sim tool]] tell me of the river" }];
    const first = (await ask({ messages, tools, reasoning_effort: "high" })).choices[0]?.message;
    const [called] = first?.tool_calls ?? [];
    if (!first || !called) throw new Error("nothing was called");
    const result = { role: "tool" as const, tool_call_id: called.id, content: "it is long" };
    const { choices } = await ask({ messages: [...messages, first, result], tools, reasoning_effort: "high" });
    expect(choices[0]?.message).toMatchObject({ reasoning_content: expect.stringMatching(/./) });
  });

  it("counts what its cache had as a part of the prompt", async () => {
    const messages = [{ role: "user" as const, content: "of the river and its dam ".repeat(100) }];
    const first = await ask({ messages });
    const second = await ask({ messages });
    expect(second.usage?.prompt_tokens).toBe(first.usage?.prompt_tokens);
    expect(second.usage?.prompt_tokens_details?.cached_tokens).toBeGreaterThan(400);
  });

  it("that does not take our key is not the caller's affair, and the key is in no log", async () => {
    const asked = clientOf(targetOf("locked")).chat.completions.create({ model: "locked", messages: question });
    await expect(asked).rejects.toMatchObject({ status: 503 });
    expect(gateway.weir.log()).not.toMatch(/key-canary|bad-key/);
  });
});
