import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requireEngines } from "../engines/availability.ts";
import { type LlamaCppServer, startLlamaCpp } from "../engines/llamacpp/server.ts";
import { startTriton, type TritonServer } from "../engines/triton/server.ts";
import { startWeirProcess, type WeirProcess } from "../fakes/weir-process.ts";

const gate = await requireEngines("triton", "llamacpp");

describe.skipIf(gate.skip)(gate.title("the gateway in front of real engines, through the OpenAI SDK"), () => {
  let triton: TritonServer;
  let llama: LlamaCppServer;
  let weir: WeirProcess;
  let client: OpenAI;

  beforeAll(async () => {
    [triton, llama] = await Promise.all([startTriton(), startLlamaCpp({ embeddings: true })]);
    weir = await startWeirProcess({
      args: ["--engine", `grpc://${triton.grpcAddress}`, "--engine", llama.url, "--chat-template", llama.modelFolder],
    });
    client = new OpenAI({ baseURL: `${weir.url}/v1`, apiKey: weir.key, maxRetries: 0 });
  }, 180_000);
  afterAll(async () => {
    await weir?.[Symbol.asyncDispose]();
    await Promise.all([triton?.[Symbol.asyncDispose](), llama?.[Symbol.asyncDispose]()]);
  });

  it("finds the models by asking both", async () => {
    const found = (await client.models.list()).data.map((model) => model.id);
    expect(found).toEqual(
      expect.arrayContaining(["ensemble", "tensorrt_llm_bls", "llmapi", "vllm_model", llama.model]),
    );
    expect(found).not.toContain("preprocessing");
  });

  const models = () => ["ensemble", "tensorrt_llm_bls", "llmapi", "vllm_model", llama.model];

  it("answers in one piece and as a stream, with counts and an end", async () => {
    for (const model of models()) {
      const body = {
        model,
        messages: [{ role: "user" as const, content: "Hello there" }],
        max_tokens: 8,
        temperature: 0,
      };
      const whole = await client.chat.completions.create(body);
      expect(whole.choices[0]?.finish_reason, model).toMatch(/^(stop|length)$/);
      expect(whole.usage?.prompt_tokens, model).toBeGreaterThan(0);
      const stream = await client.chat.completions.create({
        ...body,
        stream: true,
        stream_options: { include_usage: true },
      });
      let text = "";
      let finish: string | null | undefined;
      let completionTokens = 0;
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta.content ?? "";
        finish = chunk.choices[0]?.finish_reason ?? finish;
        completionTokens = chunk.usage?.completion_tokens ?? completionTokens;
      }
      expect(finish, model).toMatch(/^(stop|length)$/);
      expect(completionTokens, model).toBeGreaterThan(0);
      expect(completionTokens, model).toBeLessThanOrEqual(8);
      // TensorRT-LLM's post-processing decodes each step's tokens alone: a character that is split over two of them is lost there.
      const wholeText = whole.choices[0]?.message.content ?? "";
      if (model === "ensemble" || model === "tensorrt_llm_bls")
        expect(text.replace(/\uFFFD+/g, "?")).toBe(wholeText.replace(/[^ -~]/g, "?"));
      else expect(text, model).toBe(wholeText);
    }
  });

  it("says what is wrong with a request that the engine refuses", async () => {
    for (const model of models()) {
      const call = client.chat.completions.create({
        model,
        messages: [{ role: "user", content: "word ".repeat(20_000) }],
        max_tokens: 8,
      });
      await expect(call, model).rejects.toMatchObject({ status: 400, code: "context_length_exceeded" });
    }
  });

  it("embeds, and says of a model that can't that it can't", async () => {
    const input = ["the river runs", "a dam"];
    const encoded = await client.embeddings.create({ model: llama.model, input });
    const plain = await client.embeddings.create({ model: llama.model, input, encoding_format: "float" });
    expect(plain.data.map(({ embedding }) => embedding)).toEqual(encoded.data.map(({ embedding }) => [...embedding]));
    expect(plain.usage.prompt_tokens).toBeGreaterThan(0);
    const other = client.embeddings.create({ model: "vllm_model", input });
    await expect(other).rejects.toMatchObject({ status: 400, code: "unsupported_parameter" });
  });

  it("stops the engine when the client leaves", async () => {
    const model = "vllm_model";
    const cancelled = async () => (await triton.log()).filter((entry) => entry.event === "cancelled").length;
    const before = await cancelled();
    const stream = await client.chat.completions.create({
      model,
      messages: [{ role: "user", content: "[[delay_ms=20]] count" }],
      max_tokens: 2_000,
      stream: true,
    });
    for await (const _chunk of stream) break;
    await expect.poll(cancelled, { timeout: 5_000 }).toBe(before + 1);
  });
});
