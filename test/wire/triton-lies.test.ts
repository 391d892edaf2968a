import { once } from "node:events";
import { createServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { status } from "@grpc/grpc-js";
import { afterAll, describe, expect, test } from "vitest";
import { ModelStreamInferResponseSchema } from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Target } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import {
  type FakeInference,
  type FakeModel,
  type FakeTritonOptions,
  lengthPrefixed,
  startFakeTriton,
  textResponse,
  vllmModel,
} from "../fakes/fake-triton.ts";
import { bytesOf } from "../fakes/fake-grpc.ts";
import { attemptAt, run, start, targetAt } from "./attempts.ts";
import { describeGrpcLies, openServed } from "./grpc-lies.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

async function serve(options: FakeTritonOptions, more: Partial<Target> = {}) {
  const engine = cleanup.use(await startFakeTriton({ models: { fake: vllmModel }, ...options }));
  return { ...(await openServed(Dialect.TRITON, engine, more)), engine };
}

describeGrpcLies("a Triton server that tells lies", {
  serve: (generate, more) => serve({ infer: ({ call }) => generate(call) }, more),
  text: (text) => bytesOf(ModelStreamInferResponseSchema, textResponse("", text)),
  finish: () => bytesOf(ModelStreamInferResponseSchema, textResponse("", "", { final: true, finish: "stop" })),
});

const tensors = (outputs: { name: string; datatype: string; shape: bigint[] }[], ...raw: Buffer[]) => ({
  inferResponse: { outputs, rawOutputContents: raw },
});
const text = { name: "text_output", datatype: "BYTES", shape: [1n] };

describe("a stream that tells lies", () => {
  test.each<[string, (inference: FakeInference, id: string) => void, string, string]>([
    [
      "ends without a final response",
      (i, id) => (i.send(textResponse(id, "hello")), i.end()),
      "ENGINE_TRUNCATED",
      "hello",
    ],
    ["ends at once", (i) => i.end(), "ENGINE_TRUNCATED", ""],
    [
      "has a final response only",
      (i, id) => void i.send({ inferResponse: { id, parameters: final } }),
      "ENGINE_TRUNCATED",
      "",
    ],
    [
      "ends without a reason",
      (i, id) => void i.send(textResponse(id, "x", { final: true, finish: "None" })),
      "ENGINE_TRUNCATED",
      "x",
    ],
    [
      "has text of a wrong type",
      (i) => void i.send(tensors([{ ...text, datatype: "INT32" }], Buffer.alloc(4))),
      "ENGINE_PROTOCOL",
      "",
    ],
    [
      "has a wrong shape",
      (i) => void i.send(tensors([{ ...text, shape: [3n] }], lengthPrefixed("x"))),
      "ENGINE_PROTOCOL",
      "",
    ],
    [
      "has a negative shape",
      (i) => void i.send(tensors([{ ...text, shape: [-1n] }], lengthPrefixed("x"))),
      "ENGINE_PROTOCOL",
      "",
    ],
    [
      "has a length beyond its end",
      (i) => void i.send(tensors([text], Buffer.from("ff00000068", "hex"))),
      "ENGINE_PROTOCOL",
      "",
    ],
    [
      "has no text",
      (i) => void i.send(tensors([{ ...text, name: "other" }], lengthPrefixed("x"))),
      "ENGINE_PROTOCOL",
      "",
    ],
    ["has more raw than named tensors", (i) => void i.send(tensors([], lengthPrefixed("x"))), "ENGINE_PROTOCOL", ""],
    [
      "has a choice nobody asked for",
      (i) => void i.send(tensors([{ ...text, shape: [2n] }], lengthPrefixed("x"), lengthPrefixed("y"))),
      "ENGINE_PROTOCOL",
      "",
    ],
    ["has bytes that are no message", (i) => void i.send(Buffer.from("ffffffff", "hex")), "ENGINE_PROTOCOL", ""],
    [
      "refuses in band",
      (i, id) => (i.send({ errorMessage: "unexpected shape for input 'x'", inferResponse: { id } }), i.end()),
      "ENGINE_REFUSED",
      "",
    ],
    [
      "fails in band after text",
      (i, id) => (i.send(textResponse(id, "hello")), void i.send({ errorMessage: "it broke", inferResponse: { id } })),
      "ENGINE_FAILED",
      "hello",
    ],
    [
      "fails in band without an id",
      (i) => void i.send({ errorMessage: "Request for unknown model: 'x'" }),
      "ENGINE_UNAVAILABLE",
      "",
    ],
    [
      "fails with a status",
      (i, id) => (i.send(textResponse(id, "hello")), i.end(status.UNAVAILABLE, "going")),
      "ENGINE_UNAVAILABLE",
      "hello",
    ],
    ["is cancelled by the server", (i) => i.end(status.CANCELLED, "no"), "ENGINE_UNAVAILABLE", ""],
    ["aborts", (i, id) => void i.send(textResponse(id, "x", { final: true, finish: "abort" })), "ENGINE_FAILED", "x"],
  ])("%s", async (_, lie, reason, said) => {
    const { driver, model } = await serve({ infer: (inference) => lie(inference, inference.request.id) });
    const outcome = await run(driver, attemptAt(model));
    expect(outcome.reason).toBe(reason);
    expect(outcome.text()).toBe(said);
    expect(outcome.late).toBe(0);
  });

  test("has a type without end, which nobody is told whole", async () => {
    const { driver, model } = await serve({
      infer: (i) => void i.send(tensors([{ ...text, datatype: "x".repeat(1_048_576) }], Buffer.alloc(4))),
    });
    const { reason, failure } = await run(driver, attemptAt(model));
    expect(reason).toBe("ENGINE_PROTOCOL");
    expect(failure?.facts["problem"]?.length).toBeLessThan(400);
  });

  test("has responses of somebody else, which nobody reads", async () => {
    const { driver, model } = await serve({
      infer: (inference) => {
        const { id } = inference.request;
        inference.send(textResponse("somebody-else", "secret"));
        inference.send({ errorMessage: "not yours", inferResponse: { id: "somebody-else" } });
        inference.send(textResponse(id, "mine", { final: true, finish: "stop" }));
        inference.end();
      },
    });
    const outcome = await run(driver, attemptAt(model));
    expect([outcome.text(), outcome.ended]).toEqual(["mine", true]);
  });

  test("has a response of somebody without a proper name, which the log quotes and cuts", async () => {
    const { driver, model } = await serve({
      infer: (inference) => {
        inference.send(textResponse(`a\nlevel=error ${"x".repeat(1_048_576)}`, "secret"));
        inference.send(textResponse(inference.request.id, "mine", { final: true, finish: "stop" }));
        inference.end();
      },
    });
    const warned = once(process, "warning");
    await run(driver, attemptAt(model));
    const [{ message }] = (await warned) as [Error];
    expect(message).toContain('"a\\nlevel=error xx');
    expect([message.includes("\n"), message.length < 250]).toEqual([false, true]);
  });

  test("goes on after its final response, and is closed", async () => {
    const { driver, model, engine } = await serve({
      infer: (inference) => {
        const { id } = inference.request;
        inference.send(textResponse(id, "hello", { final: true, finish: "stop" }));
        inference.send(textResponse(id, "more"));
      },
    });
    const outcome = await run(driver, attemptAt(model));
    expect([outcome.text(), outcome.ended, outcome.late]).toEqual(["hello", true, 0]);
    await engine.inferences[0]?.cancelled;
  });

  test("counts what cannot be, which is no count", async () => {
    const count = Buffer.alloc(4);
    count.writeInt32LE(-5);
    const { driver, model } = await serve({
      infer: (inference) => {
        inference.send({
          inferResponse: {
            parameters: final,
            outputs: [
              text,
              { ...text, name: "finish_reason" },
              { name: "num_output_tokens", datatype: "INT32", shape: [1n] },
            ],
            rawOutputContents: [lengthPrefixed("x"), lengthPrefixed("stop"), count],
          },
        });
      },
    });
    const outcome = await run(driver, attemptAt(model));
    expect(outcome).toMatchObject({ ended: true, usage: undefined });
    expect(outcome.tokens()).toBe(0);
  });
});

const final = { triton_final_response: { parameterChoice: { case: "boolParam" as const, value: true } } };

test("a model that is not decoupled answers at once", async () => {
  const { driver, model, engine } = await serve({
    models: { fake: { ...vllmModel, config: { maxBatchSize: 0 } } },
    inferOnce: () => ({
      outputs: [text, { ...text, name: "finish_reason" }],
      rawOutputContents: [lengthPrefixed("hello"), lengthPrefixed("length")],
    }),
  });
  const outcome = await run(driver, attemptAt(model));
  expect([outcome.text(), outcome.finish(), outcome.ended]).toEqual(["hello", "LENGTH", true]);
  expect(engine.inferences).toHaveLength(0);
});

test("stop texts are enforced where the engine knows none, and it is stopped when it goes on", async () => {
  const { driver, model, engine } = await serve({
    infer: (inference) => {
      for (const piece of ["the E", "N", "D of", " it"]) inference.send(textResponse(inference.request.id, piece));
    },
  });
  const outcome = await run(driver, attemptAt(model, { sampling: { stop: ["END"] } }));
  expect([outcome.text(), outcome.finish(), outcome.ended]).toEqual(["the ", "STOP", true]);
  await engine.inferences[0]?.cancelled;
});

describe("a connection", () => {
  test("carries many generations, whose responses do not mix", async () => {
    const { driver, model } = await serve({
      infer: (inference) => {
        const { id } = inference.request;
        inference.send(textResponse(id, id));
        setImmediate(() => inference.send(textResponse(id, "!", { final: true, finish: "stop" })));
      },
    });
    const attempts = Array.from({ length: 100 }, () => attemptAt(model));
    const outcomes = await Promise.all(attempts.map((attempt) => run(driver, attempt)));
    expect(outcomes.map((outcome) => outcome.text())).toEqual(attempts.map((attempt) => `${attempt.id}!`));
  });

  test("that the server ends to be left in peace is a server that went away, and no quota", async () => {
    const sessions = new Set<ServerHttp2Session>();
    const server = createServer();
    server.on("session", (session) => sessions.add(session.on("error", () => undefined)));
    server.on("stream", (stream) => {
      stream.on("error", () => undefined);
      // ENHANCE_YOUR_CALM
      stream.session?.goaway(11, 0, Buffer.from("too_many_pings"));
      stream.session?.destroy(undefined, 11);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanup.defer(() => {
      for (const session of sessions) session.destroy();
      server.close();
    });
    const { model } = await serve({});
    const { port } = server.address() as AddressInfo;
    const driver = cleanup.use(openDriver(Dialect.TRITON, targetAt(`grpc://127.0.0.1:${port}`)));
    expect((await run(driver, attemptAt(model))).reason).toBe("ENGINE_UNAVAILABLE");
  });
});

test("an ensemble's driver that is closed while it generates says so once", async () => {
  const inputs = (...names: string[]) => ({ inputs: names.map((name) => ({ name, datatype: "BYTES", shape: [1n] })) });
  const step = [{ modelName: "core", inputMap: { input_ids: "x" } }];
  const ensemble: FakeModel = {
    metadata: { ...inputs("text_input", "max_tokens", "stream"), outputs: [text] },
    config: {
      modelTransactionPolicy: { decoupled: true },
      schedulingChoice: { case: "ensembleScheduling", value: { step } },
    },
  };
  const core: FakeModel = { metadata: inputs("input_ids", "input_lengths", "request_output_len", "stop"), config: {} };
  const { driver, model } = await serve({
    models: { fake: ensemble, core },
    infer: (i) => void i.send(textResponse(i.request.id, "x")),
  });
  expect(model.interfaceJson).toContain('"stopModel":"core"');
  const running = start(driver, attemptAt(model)).outcome;
  await running.until(() => running.deltas.length > 0);
  await driver[Symbol.asyncDispose]();
  await running.done;
  expect([running.reason, running.late]).toEqual(["ENGINE_UNAVAILABLE", 0]);
});

test("a cancelled request that waits for the connection is never sent", async () => {
  const { driver, model, engine } = await serve({
    infer: (i) => void i.send(textResponse(i.request.id, "x", { final: true, finish: "stop" })),
  });
  const { outcome, cancel } = start(driver, attemptAt(model));
  cancel();
  expect((await run(driver, attemptAt(model))).ended).toBe(true);
  expect(engine.inferences.length).toBeLessThanOrEqual(2);
  expect(outcome).toMatchObject({ ended: false, failure: undefined, late: 0 });
});
