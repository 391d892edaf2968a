import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { requireEngines } from "../availability.ts";
import { createTritonClient, integersOf, isFinal, type TensorValues, type TritonClient, textsOf } from "./client.ts";
import { openRequests } from "./event-log.ts";
import { startTriton, type TritonServer } from "./server.ts";

// The drivers' tests trust these models, so the models have tests of their own.
const gate = await requireEngines("triton");

const trt = (prompt: string, more: TensorValues = {}): TensorValues => ({
  text_input: prompt,
  max_tokens: 64,
  stream: true,
  ...more,
});
const vllm = (prompt: string, sampling: object = {}, more: TensorValues = {}): TensorValues => ({
  text_input: prompt,
  stream: true,
  sampling_parameters: JSON.stringify({ max_tokens: 64, ...sampling }),
  return_finish_reason: true,
  return_num_output_tokens: true,
  ...more,
});

describe.skipIf(gate.skip)(gate.title("the models of the Triton server"), () => {
  let server: TritonServer;
  let client: TritonClient;
  beforeAll(async () => {
    server = await startTriton({ parameters: { tensorrt_llm_bls: { accumulate_tokens: "true" } } });
    client = createTritonClient(server.grpcAddress);
  });
  afterAll(async () => {
    client?.[Symbol.dispose]();
    await server?.[Symbol.asyncDispose]();
  });

  async function collect(model: string, inputs: TensorValues, requestId = "") {
    const texts: string[] = [];
    const errors: string[] = [];
    const finals: boolean[] = [];
    const finishReasons: string[] = [];
    let tokens = 0;
    for await (const message of client.infer(model, inputs, { requestId, batched: model !== "vllm_model" })) {
      if (message.errorMessage !== "") errors.push(message.errorMessage);
      finals.push(isFinal(message.inferResponse));
      if (message.inferResponse === undefined) continue;
      texts.push(...textsOf(message.inferResponse, "text_output"));
      finishReasons.push(...textsOf(message.inferResponse, "finish_reason"));
      for (const count of integersOf(message.inferResponse, "num_output_tokens")) tokens += count;
    }
    return { texts, errors, finals, finishReasons, tokens, text: texts.join("") };
  }

  describe("text", () => {
    test("is the same for the same prompt and seed, and another for another seed", async () => {
      const one = await collect("ensemble", trt("tell me", { seed: 7 }));
      expect(one.text).not.toBe("");
      expect((await collect("ensemble", trt("tell me", { seed: 7 }))).texts).toEqual(one.texts);
      expect((await collect("ensemble", trt("tell me", { seed: 8 }))).text).not.toBe(one.text);
    });

    test("goes on to max_tokens when the model does not end before", async () => {
      const counts = { return_num_output_tokens: true };
      expect((await collect("ensemble", trt("[[tokens=50]]", { max_tokens: 5, ...counts }))).tokens).toBe(5);
      expect((await collect("ensemble", trt("[[tokens=5]]", { max_tokens: 50, ...counts }))).tokens).toBe(6);
    });

    test("keeps the stop word in the ensemble", async () => {
      const { text } = await collect("ensemble", trt("[[say:amber kilo birch]]", { stop_words: ["kilo"] }));
      expect(text).toBe("amber kilo");
    });

    test("loses the stop word in vllm_model, and never shows a part of it", async () => {
      const { texts, finishReasons } = await collect(
        "vllm_model",
        vllm("[[say:amber <end> birch]]", { stop: ["<end>"] }),
      );
      expect(texts.join("")).toBe("amber ");
      expect(finishReasons.at(-1)).toBe("stop");
      expect(new Set(finishReasons.slice(0, -1))).toEqual(new Set(["None"]));
    });

    test("breaks a character over steps in the ensemble, is whole in the others", async () => {
      const prompt = "[[say:a ☕ b]]";
      expect((await collect("ensemble", trt(prompt))).text).toBe("a \uFFFD\uFFFD\uFFFD b");
      expect((await collect("tensorrt_llm_bls", trt(prompt))).texts.at(-1)).toBe("a ☕ b");
      expect((await collect("vllm_model", vllm(prompt))).text).toBe("a ☕ b");
    });

    test("comes in as many sequences as were asked for", async () => {
      const two = await collect("ensemble", trt("[[tokens=3]]", { num_return_sequences: 2 }));
      expect(two.texts).toHaveLength(8);
      expect((await collect("vllm_model", vllm("[[tokens=3]]", { n: 2 }))).tokens).toBe(8);
    });
  });

  describe("an error", () => {
    test("comes from the ensemble and vllm_model as one last message", async () => {
      for (const [model, inputs] of [
        ["ensemble", trt("[[error_after=2]]")],
        ["vllm_model", vllm("[[error_after=2]]")],
      ] as const) {
        const { errors, finals } = await collect(model, inputs);
        expect(errors).toEqual([expect.stringContaining("the model failed on request")]);
        // How many tokens come before it is the ensemble's luck: an error overtakes those still in postprocessing.
        expect(finals.indexOf(true)).toBe(finals.length - 1);
      }
    });

    test("comes from tensorrt_llm_bls with a traceback, before the last message", async () => {
      const { errors, finals } = await collect("tensorrt_llm_bls", trt("[[error_after=2]]"));
      expect(errors).toEqual([expect.stringContaining("Traceback (most recent call last)")]);
      expect(finals).toEqual([false, false, false, true]);
      const atOnce = await collect("tensorrt_llm_bls", trt("[[error]]"));
      expect(atOnce.errors).toEqual([expect.stringContaining("Traceback (most recent call last)")]);
      expect(atOnce.finals).toEqual([false, true]);
    });

    test("tells of a refused value", async () => {
      const { errors } = await collect("vllm_model", vllm("hi", { temperature: -1 }));
      expect(errors).toEqual([expect.stringContaining("temperature must be non-negative, got -1")]);
    });
  });

  describe("a cancel", () => {
    const endless = "[[delay_ms=20]] [[tokens=100000]]";

    async function leaveAfterFirst(model: string, inputs: TensorValues, requestId: string): Promise<void> {
      for await (const _ of client.infer(model, inputs, { requestId, batched: model !== "vllm_model" })) break;
    }

    test("ends vllm_model within 250 ms", async () => {
      await leaveAfterFirst("vllm_model", vllm(endless, { max_tokens: 100_000 }), "leaves-vllm");
      const leftMs = performance.timeOrigin + performance.now();
      const event = await server.untilLog((events) =>
        events.find(({ requestId, event }) => requestId === "leaves-vllm" && event === "cancelled"),
      );
      expect(event.timeMs - leftMs).toBeLessThan(250);
    });

    test("does not reach an ensemble's generator, a stop with the same id does", async () => {
      await leaveAfterFirst("ensemble", trt(endless, { max_tokens: 500 }), "leaves-ensemble");
      await server.untilLog((events) =>
        events.some(({ requestId, count }) => requestId === "leaves-ensemble" && (count ?? 0) >= 30),
      );
      const one = { input_ids: 0, input_lengths: 1, request_output_len: 1 };
      const stopped = await collect("tensorrt_llm", { ...one, stop: true }, "leaves-ensemble");
      expect(stopped).toMatchObject({ errors: [], finals: [true] });
      await server.untilLog((events) =>
        events.find(({ requestId, event }) => requestId === "leaves-ensemble" && event === "stopped"),
      );
    });

    test("does not reach what tensorrt_llm_bls started", async () => {
      await leaveAfterFirst("tensorrt_llm_bls", trt(endless, { max_tokens: 40 }), "leaves-bls");
      const end = await server.untilLog((events) => {
        const inner = events.find(({ requestId, innerRequestId }) => requestId === "leaves-bls" && innerRequestId);
        return events.find(
          ({ requestId, event, model }) =>
            model === "tensorrt_llm" &&
            requestId === inner?.innerRequestId &&
            event !== "produced" &&
            event === "finished",
        );
      });
      expect(end.count).toBe(40);
    });
  });

  test("nothing is left running", async () => {
    await expect(server.untilLog((events) => openRequests(events).length === 0)).resolves.toBe(true);
  });
});
