import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { requireEngines } from "./availability.ts";
import { type LlamaCppServer, startLlamaCpp } from "./llamacpp/server.ts";
import { createTritonClient, isFinal, type TensorValues, type TritonClient, textsOf } from "./triton/client.ts";
import { startTriton, type TritonServer } from "./triton/server.ts";

const gate = await requireEngines("triton", "llamacpp");

describe.skipIf(gate.skip)(gate.title("a real llama.cpp server"), () => {
  let server: LlamaCppServer;
  beforeAll(async () => {
    server = await startLlamaCpp();
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  test("streams a chat, the same one each time", async () => {
    const first = await streamChat(server);
    expect(first.at(-1)).toBe("[DONE]");
    expect(textOf(first)).not.toBe("");
    expect(textOf(await streamChat(server))).toBe(textOf(first));
    expect(await server.busySlots()).toBe(0);
  });

  test("frees the slot when the client leaves a stream", async () => {
    const leaving = new AbortController();
    const body = JSON.stringify({ messages: [{ role: "user", content: "hi" }], stream: true, max_tokens: 8_000 });
    const url = `${server.url}/v1/chat/completions`;
    const response = await fetch(url, { method: "POST", body, signal: leaving.signal });
    await response.body?.getReader().read();
    expect(await server.busySlots()).toBe(1);
    leaving.abort();
    await expect.poll(() => server.busySlots(), { timeout: 5_000 }).toBe(0);
  });
});

async function streamChat(server: LlamaCppServer): Promise<string[]> {
  const response = await fetch(`${server.url}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify({
      model: server.model,
      messages: [{ role: "user", content: "Once upon a time" }],
      stream: true,
      temperature: 0,
      max_tokens: 12,
    }),
  });
  expect(response.status).toBe(200);
  const lines = (await response.text()).split("\n");
  return lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice("data: ".length));
}

function textOf(events: string[]): string {
  const chunks = events
    .slice(0, -1)
    .map((event): { choices: { delta: { content?: string | null } }[] } => JSON.parse(event));
  return chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
}

describe.skipIf(gate.skip)(gate.title("a real Triton server"), () => {
  let server: TritonServer;
  let client: TritonClient;
  beforeAll(async () => {
    server = await startTriton();
    client = createTritonClient(server.grpcAddress);
  });
  afterAll(async () => {
    client?.[Symbol.dispose]();
    await server?.[Symbol.asyncDispose]();
  });

  const trtInputs: TensorValues = { text_input: "hello [[tokens=6]]", max_tokens: 32, stream: true };
  const flavours: { model: string; inputs: TensorValues; batched: boolean }[] = [
    { model: "ensemble", inputs: trtInputs, batched: true },
    { model: "tensorrt_llm_bls", inputs: trtInputs, batched: true },
    { model: "vllm_model", inputs: { text_input: "hello [[tokens=6]]", stream: true }, batched: false },
  ];
  test.for(flavours)("streams from $model", async ({ model, inputs, batched }) => {
    expect(await client.modelReady(model)).toBe(true);
    const texts: string[] = [];
    let last = false;
    for await (const message of client.infer(model, inputs, { requestId: `smoke-${model}`, batched })) {
      expect(message.errorMessage).toBe("");
      expect(message.inferResponse?.id).toBe(`smoke-${model}`);
      if (message.inferResponse) texts.push(...textsOf(message.inferResponse, "text_output"));
      last = isFinal(message.inferResponse);
    }
    expect(last).toBe(true);
    // Six tokens and the end token.
    expect(texts).toHaveLength(7);
    expect(texts.join("")).not.toBe("");
  });

  test("knows a model that is not in the repository as not ready", async () => {
    await expect(client.modelReady("nobody")).resolves.toBe(false);
  });
});
