import { Metadata, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Simulator, startSimulator } from "../../services/simulator/simulator.ts";
import { isFinal, type TensorValues, textsOf } from "../engines/triton/client.ts";
import { eventually } from "../rpc/eventually.ts";
import { callTriton, drain, requestFor, type TritonCalls, tensorrt, vllm } from "./triton-calls.ts";

let simulator: Simulator;
let calls: TritonCalls;
let id = "";
let ordinal = 0;

beforeAll(async () => {
  const speed = { slots: 4, prefillMsPerToken: 0, decodeMsPerToken: 1, contextLength: 2_000 };
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

const recorded = () => simulator.recorder.entries().filter((entry) => entry.id === id);
const events = () => recorded().map(({ event }) => event);
const request = (model: string, inputs: TensorValues, requestId = id) => requestFor(requestId, model, inputs);
const infer = (model: string, inputs: TensorValues, requestId = id) => calls.infer(request(model, inputs, requestId));

describe("a stream", () => {
  test("carries many requests, whose errors do not end it", async () => {
    const stream = calls.stream();
    const drained = drain(stream);
    for (let i = 0; i < 6; i++) stream.write(request("ensemble", tensorrt(`one of many ${i}`), `${id}-${i}`));
    stream.write(request("nope", tensorrt("x"), `${id}-bad`));
    stream.end();
    const { code, responses, errors } = await drained;
    expect([code, errors.length]).toEqual([status.OK, 1]);
    const finals = responses.filter((response) => isFinal(response)).map((response) => response.id);
    expect(finals.toSorted()).toEqual(Array.from({ length: 6 }, (_, i) => `${id}-${i}`));
  });

  test("ends with a status at an engine's error if it was opened so, and stays in words at refusals", async () => {
    const metadata = new Metadata();
    metadata.set("triton_grpc_error", "true");
    const failing = calls.stream({ metadata });
    failing.write(request("vllm_model", vllm("[[sim error after=1]]")));
    expect((await drain(failing)).code).toBe(status.INTERNAL);
    const refused = calls.stream({ metadata });
    refused.write(request("nope", tensorrt("x")));
    refused.end();
    expect(await drain(refused)).toMatchObject({ code: status.OK, errors: [expect.any(String)] });
  });
});

describe("a fault", () => {
  test.each(["ensemble", "tensorrt_llm_bls", "vllm_model"])("of %s comes as that model words it", async (model) => {
    const inputs = model === "vllm_model" ? vllm("[[sim error after=2]]") : tensorrt("[[sim error after=2]]");
    const { code, errors, finals } = await infer(model, inputs);
    expect(code).toBe(status.OK);
    const wording = {
      ensemble: /^in ensemble/,
      tensorrt_llm_bls: /^Traceback[^]*model\.py/,
      vllm_model: /^Error generating/,
    };
    expect(errors).toEqual([
      expect.stringMatching(Object.entries(wording).find(([name]) => name === model)?.[1] ?? /^$/),
    ]);
    expect(finals).toEqual(model === "tensorrt_llm_bls" ? [false, false, false, true] : [false, false, true]);
    expect(recorded().at(-1)).toMatchObject({ event: "failed", fault: "error", tokens: 2 });
  });

  test("reject says that the queue is full", async () => {
    const { errors, responses } = await infer("vllm_model", vllm("[[sim reject]]"));
    expect(errors).toEqual([`[request id: ${id}] Exceeds maximum queue size`]);
    expect(responses[0]?.modelName).toBe("");
  });

  test("early_end ends the stream well, without the flag", async () => {
    const { code, texts, finals } = await infer("ensemble", tensorrt("[[sim early_end after=2]]"));
    expect([code, texts.length, finals]).toEqual([status.OK, 2, [false, false]]);
  });

  test("cut resets the connection, which comes back", async () => {
    const { code, texts } = await infer("vllm_model", vllm("[[sim cut after=2]]"));
    expect([code, texts.length]).toEqual([status.UNAVAILABLE, 2]);
    await expect.poll(async () => (await infer("ensemble", tensorrt("back", { max_tokens: 1 }))).code).toBe(status.OK);
  });

  test("is commanded for the next request, whatever it says", async () => {
    simulator.engine.commanded.push({ kind: "early_end", after: 1, ms: 0 });
    expect((await infer("ensemble", tensorrt("fine"))).finals).toEqual([false]);
    expect((await infer("ensemble", tensorrt("fine"))).finals.at(-1)).toBe(true);
  });

  test("crash ends everything at once, on both protocols", async () => {
    await using doomed = await startSimulator({ openai: { port: 0 }, triton: { port: 0 } });
    const to = callTriton(doomed.grpcUrl);
    const bystander = to.stream();
    bystander.write(request("ensemble", tensorrt("[[sim hang]]")));
    const drained = drain(bystander);
    await eventually("one runs", () => doomed.engine.load().running === 1);
    const crashing = to.stream();
    crashing.write(request("vllm_model", vllm("[[sim crash after=1]]")));
    expect((await drain(crashing)).code).toBe(status.UNAVAILABLE);
    expect((await drained).code).toBe(status.UNAVAILABLE);
    await expect(fetch(`${doomed.httpUrl}/health`)).rejects.toThrow("fetch failed");
    expect(doomed.engine.load().running).toBe(0);
    to[Symbol.dispose]();
  });
});

describe("a cancel", () => {
  const phases = [
    { phase: "prefill", prompt: "[[sim delay after=0 ms=60000]]", last: "started" },
    { phase: "decode", prompt: "[[sim drip after=1 ms=60000]]", last: "produced" },
  ];

  const begin = (model: string, prompt: string, requestId = id) => {
    const stream = calls.stream();
    stream.on("error", () => undefined);
    stream.on("data", () => undefined);
    stream.write(request(model, model === "vllm_model" ? vllm(prompt) : tensorrt(prompt), requestId));
    stream.end();
    return stream;
  };

  async function stop(requestId: string) {
    const one = { input_ids: 0, input_lengths: 1, request_output_len: 1 };
    return await infer("tensorrt_llm", { ...one, stop: true }, requestId);
  }

  test.each(phases)("stops the vLLM backend in $phase", async ({ prompt, last }) => {
    const stream = begin("vllm_model", prompt);
    await eventually(`${last} is recorded`, () => events().at(-1) === last);
    const leftMs = performance.timeOrigin + performance.now();
    stream.cancel();
    await eventually("the cancel is recorded", () => events().at(-1) === "cancelled");
    expect((recorded().at(-1)?.atMs ?? 0) - leftMs).toBeLessThan(250);
  });

  test.each(phases)(
    "does not stop the ensemble in $phase, a stop request of the same id does",
    async ({ prompt, last }) => {
      const stream = begin("ensemble", prompt);
      await eventually(`${last} is recorded`, () => events().at(-1) === last);
      stream.cancel();
      // A round trip on the same connection: the server has heard of the cancel by then.
      await infer("ensemble", tensorrt("later", { max_tokens: 1 }), `${id}-later`);
      expect(events().at(-1)).toBe(last);
      expect(await stop("another id")).toMatchObject({ errors: [], finals: [true] });
      expect(events().at(-1)).toBe(last);
      expect(await stop(id)).toMatchObject({ errors: [], finals: [true] });
      expect(events().at(-1)).toBe("cancelled");
      expect(await stop(id)).toMatchObject({ errors: [] });
    },
  );

  test("by a stop request ends the ensemble's stream well", async () => {
    const stream = calls.stream();
    stream.write(request("ensemble", tensorrt("[[sim drip after=1 ms=60000]]")));
    stream.end();
    const drained = drain(stream);
    await eventually("a token is recorded", () => events().includes("produced"));
    await stop(id);
    expect(await drained).toMatchObject({ code: status.OK, finals: [false, true] });
  });

  test("does not stop BLS, nor does a stop request", async () => {
    const stream = begin("tensorrt_llm_bls", "[[sim delay after=1 ms=300]]");
    await eventually("a token is recorded", () => events().includes("produced"));
    stream.cancel();
    await stop(id);
    await eventually("it goes on to its end", () => events().at(-1) === "finished");
    expect(events()).not.toContain("cancelled");
  });

  test.each(["ensemble", "tensorrt_llm_bls", "vllm_model"])("takes %s out of the queue", async (model) => {
    const crowd = Array.from({ length: 4 }, (_, i) => begin("vllm_model", "[[sim hang]]", `${id}-crowd-${i}`));
    await eventually("4 run", () => simulator.engine.load().running === 4);
    const stream = begin(model, "waits");
    await eventually("it waits", () => events().includes("received"));
    stream.cancel();
    await eventually("the cancel is recorded", () => events().at(-1) === "cancelled");
    expect(events()).toEqual(["received", "cancelled"]);
    for (const other of crowd) other.cancel();
    await eventually("none run", () => simulator.engine.load().running === 0);
  });

  test("by deadline, or by a connection that closes, is one too", async () => {
    const late = calls.stream({ deadlineMs: 200 });
    late.write(request("vllm_model", vllm("[[sim hang]]")));
    expect((await drain(late)).code).toBe(status.DEADLINE_EXCEEDED);
    await eventually("the cancel is recorded", () => events().at(-1) === "cancelled");

    id = `${id}-closed`;
    const other = callTriton(simulator.grpcUrl);
    const stream = other.stream();
    stream.on("error", () => undefined);
    stream.write(request("vllm_model", vllm("[[sim hang]]")));
    await eventually("it runs", () => events().includes("started"));
    stream.cancel();
    other[Symbol.dispose]();
    await eventually("the cancel is recorded", () => events().at(-1) === "cancelled");
  });
});

describe("ModelInfer", () => {
  const ensemble = (inputs: TensorValues) => request("ensemble", inputs);

  test("is unimplemented for models that may answer more than once", async () => {
    await expect(calls.modelInfer(ensemble(tensorrt("x", { stream: false })))).rejects.toMatchObject({
      code: status.UNIMPLEMENTED,
      details: "ModelInfer RPC doesn't support models with decoupled transaction policy",
    });
  });

  test("answers once where the models are not decoupled, with real codes for errors", async () => {
    await using plain = await startSimulator({ triton: { port: 0, decoupled: false } });
    using to = callTriton(plain.grpcUrl);
    const response = await to.modelInfer(ensemble(tensorrt("x", { stream: false, max_tokens: 3 })));
    expect(textsOf(response, "text_output")).toHaveLength(1);
    expect(response.parameters).not.toHaveProperty("triton_final_response");
    const failing: [TensorValues, number][] = [
      [tensorrt("x"), status.INTERNAL],
      [{ text_input: "x" }, status.INVALID_ARGUMENT],
      [tensorrt("[[sim reject]]", { stream: false }), status.UNAVAILABLE],
      [tensorrt("[[sim error]]", { stream: false }), status.INTERNAL],
      [tensorrt("[[sim cut]]", { stream: false }), status.UNAVAILABLE],
    ];
    for (const [inputs, code] of failing) await expect(to.modelInfer(ensemble(inputs))).rejects.toMatchObject({ code });
  });
});
