import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Simulator, startSimulator } from "../../services/simulator/simulator.ts";
import { integersOf, type TensorValues, textsOf } from "../engines/triton/client.ts";
import { callTriton, requestFor, type TritonCalls, vllm } from "./triton-calls.ts";

let simulator: Simulator;
let calls: TritonCalls;
let id = "";
let ordinal = 0;

beforeAll(async () => {
  const speed = { prefillMsPerToken: 0, decodeMsPerToken: 1, contextLength: 2_000 };
  simulator = await startSimulator({ speed, triton: { port: 0 } });
  calls = callTriton(simulator.grpcUrl);
});
afterAll(async () => {
  calls[Symbol.dispose]();
  await simulator[Symbol.asyncDispose]();
});
beforeEach(() => {
  id = `triton-${ordinal++}`;
});

const infer = (model: string, inputs: TensorValues) => calls.infer(requestFor(id, model, inputs));

describe("the vLLM backend", () => {
  test("says None while it goes on, and counts without a dimension", async () => {
    const { responses, finals } = await infer("vllm_model", vllm("hello", { max_tokens: 3, ignore_eos: true }));
    const reasons = responses.flatMap((response) => textsOf(response, "finish_reason"));
    expect(reasons).toEqual(["None", "None", "length"]);
    expect(finals).toEqual([false, false, true]);
    const head = responses[0]?.outputs.find(({ name }) => name === "num_input_tokens");
    expect(head).toMatchObject({ datatype: "UINT32", shape: [] });
    expect(responses.flatMap((response) => integersOf(response, "num_input_tokens"))).toEqual([2, 2, 2]);
  });

  test("tells how likely tokens were where it was told to compute that, the drawn one first", async () => {
    const told = async (sampling: object) => {
      const more = { max_tokens: 12, ignore_eos: true, ...sampling };
      const { responses } = await infer("vllm_model", vllm("score", more, { return_logprobs: true }));
      return responses.flatMap((response) => textsOf(response, "logprobs"));
    };
    expect(new Set(await told({}))).toEqual(new Set(["null"]));
    const [first = ""] = await told({ logprobs: 2, seed: 1 });
    expect(first).toMatch(/^\[\{"1\d{3}": \{"logprob":-[\d.]+,"rank":[13],"decoded_token":".+"\}, "\d+": /);
  });

  test("has an element for each choice, and leaves the stop text out", async () => {
    const two = await infer("vllm_model", vllm("two", { n: 2, max_tokens: 2, ignore_eos: true }));
    expect(two.responses.map((response) => textsOf(response, "text_output").length)).toEqual([2, 2]);
    const json = { structured_outputs: '{"json_object": true}', max_tokens: 60 };
    const stopped = await infer("vllm_model", vllm("json", { ...json, stop: ["forty"] }));
    expect(stopped.texts.join("")).toBe('{"answer": "');
  });

  test.each([
    [{ choice: ["yes", "no"] }, "yes"],
    [{ regex: "(?:no)|(?:yes)" }, "no"],
  ])("keeps to %j as a text of its own, and to nothing else", async (form, said) => {
    const structured_outputs = JSON.stringify(form);
    const { texts } = await infer("vllm_model", vllm("maybe", { structured_outputs, max_tokens: 60 }));
    expect(texts.join("")).toBe(said);
    const { errors } = await infer("vllm_model", vllm("maybe", { structured_outputs: form }));
    expect(errors.join()).toContain("'NoneType' object has no attribute 'lora_name'");
  });

  test("repeats the prompt in an answer of one piece unless it is left out", async () => {
    const whole = { stream: false };
    const prompted = await infer("vllm_model", vllm("prompt", {}, whole));
    expect(prompted.texts[0]?.startsWith("prompt")).toBe(true);
    const { errors } = await infer("vllm_model", vllm("prompt", {}, { exclude_input_in_output: false }));
    expect(errors[0]).toContain("`exclude_input_in_output` = False is not allowed");
  });
});
