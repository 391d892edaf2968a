import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BatchedTokenizeResponseSchema, GenerationService } from "../../gen/ts/engine/tgis/generation_pb.ts";
import {
  type ModelInferRequest,
  ModelInferRequestSchema,
  ModelInferResponseSchema,
} from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import { Dialect, type ReplicaModel, ReplicaModelSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Driver } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import type { EmbeddingInterface } from "../../services/drivers/triton/embedding-interface.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { bytesOf, type FakeCall, type FakeGrpc, startFakeGrpc } from "../fakes/fake-grpc.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import { targetAt } from "./attempts.ts";
import { calm, countAttempt, embedAttempt, failureOf, numbersOf } from "./unary-calls.ts";

const described: EmbeddingInterface = {
  flavour: "embedding",
  form: "text",
  input: "TEXT",
  batchMax: 4,
  inputs: { TEXT: "BYTES" },
  output: "EMBEDDING",
  dimensions: 2,
};

const modelOf = (more: Partial<EmbeddingInterface> = {}): ReplicaModel =>
  create(ReplicaModelSchema, {
    engineModel: "fake",
    flavour: "embedding",
    interfaceJson: JSON.stringify({ ...described, ...more }),
  });

let engine: FakeGrpc;
let answers: (call: FakeCall) => void;
let triton: Driver;
let tgis: Driver;
const clock = new SimulatedClock();

beforeEach(async () => {
  engine = await startFakeGrpc((call) => answers(call));
  triton = openDriver(Dialect.TRITON, targetAt(engine.url));
  tgis = openDriver(Dialect.TGIS, targetAt(engine.url));
});
afterEach(async () => {
  await triton[Symbol.asyncDispose]();
  await tgis[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

type Response = MessageInitShape<typeof ModelInferResponseSchema>;

function says(...responses: readonly Response[]): void {
  answers = (call) => {
    for (const response of responses) call.send(bytesOf(ModelInferResponseSchema, response));
    call.end();
  };
}

const raw = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const told = (
  rows: number,
  columns: number,
  bytes: Uint8Array,
  more: { name?: string; datatype?: string } = {},
): Response => ({
  outputs: [{ name: "EMBEDDING", datatype: "FP32", shape: [BigInt(rows), BigInt(columns)], ...more }],
  rawOutputContents: [bytes],
});
const requests = (): ModelInferRequest[] =>
  engine.calls.map(({ request }) => fromBinary(ModelInferRequestSchema, request));

describe("Triton's embeddings", () => {
  test("are asked for in the model's own shapes", async () => {
    says(told(2, 2, raw(1, 2, 3, 4)));
    const attempt = embedAttempt(["a", "b"], { model: modelOf() });
    const found = await triton.embed?.(attempt, calm);
    expect(found?.vectors.map(numbersOf)).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(requests()).toMatchObject([
      {
        modelName: "fake",
        id: attempt.id,
        inputs: [{ name: "TEXT", datatype: "BYTES", shape: [2n, 1n] }],
        outputs: [{ name: "EMBEDDING" }],
      },
    ]);
  });

  test("of ids come with a mask, one by one", async () => {
    says(told(1, 2, raw(1, 2)));
    const model = modelOf({
      form: "ids",
      input: "input_ids",
      inputs: { input_ids: "INT64", attention_mask: "INT64", token_type_ids: "INT32" },
    });
    await triton.embed?.(embedAttempt([[5, 6], [7]], { model }), calm);
    const [first] = requests();
    expect(first?.inputs.map(({ name, shape }) => [name, shape])).toEqual([
      ["input_ids", [1n, 2n]],
      ["attention_mask", [1n, 2n]],
      ["token_type_ids", [1n, 2n]],
    ]);
    const [, mask] = first?.rawInputContents ?? [];
    expect([...new BigInt64Array(new Uint8Array(mask ?? []).buffer)]).toEqual([1n, 1n]);
    expect(engine.calls).toHaveLength(2);
  });

  test("of models that say no length, or have no batch, are asked for one by one", async () => {
    says(told(1, 2, raw(1, 2)));
    await triton.embed?.(embedAttempt(["a", "b"], { model: modelOf({ dimensions: 0 }) }), calm);
    says({ outputs: [{ name: "EMBEDDING", datatype: "FP32", shape: [2n] }], rawOutputContents: [raw(1, 2)] });
    await triton.embed?.(embedAttempt(["a"], { model: modelOf({ batchMax: 0 }) }), calm);
    expect(requests().map(({ inputs }) => inputs[0]?.shape)).toEqual([[1n, 1n], [1n, 1n], [1n]]);
  });

  test.each<[string, readonly Response[]]>([
    ["no answer", []],
    ["two answers", [told(2, 2, raw(1, 2, 3, 4)), told(2, 2, raw(1, 2, 3, 4))]],
    ["no output", [{}]],
    ["another output", [told(2, 2, raw(1, 2, 3, 4), { name: "other" })]],
    ["another datatype", [told(2, 2, raw(1, 2, 3, 4), { datatype: "INT32" })]],
    ["half of the bytes", [told(2, 2, raw(1, 2))]],
    ["a vector too few", [told(1, 2, raw(1, 2))]],
    ["vectors that are too long", [told(2, 3, raw(1, 2, 3, 4, 5, 6))]],
    ["no vectors", [told(0, 0, raw())]],
    ["NaN", [told(2, 2, raw(1, 2, Number.NaN, 4))]],
    ["infinity", [told(2, 2, raw(1, 2, 3, Number.POSITIVE_INFINITY))]],
  ])("with %s are the engine's error", async (_what, responses) => {
    says(...responses);
    const asked = triton.embed?.(embedAttempt(["a", "b"], { model: modelOf() }), calm);
    expect((await failureOf(asked)).reason).toBe("ENGINE_PROTOCOL");
  });

  test.each<[string, (call: FakeCall) => void, string]>([
    ["bytes that are no message", (call) => (call.send(Buffer.from("ffffffff", "hex")), call.end()), "ENGINE_PROTOCOL"],
    ["a status for bad input", (call) => call.end(3, "unexpected shape for input 'TEXT'"), "ENGINE_REFUSED"],
    ["a failure", (call) => call.end(13, "CUDA error"), "ENGINE_FAILED"],
    ["a full queue", (call) => call.end(14, "Exceeds maximum queue size"), "ENGINE_OVERLOADED"],
    ["an unknown model", (call) => call.end(5, "Request for unknown model: 'fake' is not found"), "ENGINE_UNAVAILABLE"],
    ["no such call", (call) => call.end(12, "Method not found"), "ENGINE_PROTOCOL"],
    ["a reset", (call) => call.reset(2), "ENGINE_FAILED"],
  ])("answered with %s fail for the right reason", async (_what, answer, reason) => {
    answers = answer;
    const asked = triton.embed?.(embedAttempt(["a"], { model: modelOf() }), calm);
    expect((await failureOf(asked)).reason).toBe(reason);
  });

  test("end together: one that fails, and a caller that leaves, cancel the others", async () => {
    const left: Promise<void>[] = [];
    answers = (call) => {
      left.push(call.cancelled);
      if (engine.calls.length === 3) call.end(13, "CUDA error");
    };
    const model = modelOf({ batchMax: 1 });
    const failing = triton.embed?.(embedAttempt(["a", "b", "c"], { model }), calm);
    expect((await failureOf(failing)).reason).toBe("ENGINE_FAILED");
    await Promise.all(left);
    const caller = new AbortController();
    const leaving = failureOf(triton.embed?.(embedAttempt(["a"], { model }), caller.signal));
    await expect.poll(() => left.length).toBe(4);
    caller.abort(fail(ErrorReason.CANCELLED));
    expect((await leaving).reason).toBe("CANCELLED");
    await Promise.all(left);
  });

  test("that never come, or whose server does not, end in time", async () => {
    answers = () => undefined;
    await using patient = openDriver(Dialect.TRITON, targetAt(engine.url, { clock, totalMs: 5_000 }));
    const asked = failureOf(patient.embed?.(embedAttempt(["a"], { model: modelOf() }), calm));
    await expect.poll(() => engine.calls.length).toBe(1);
    clock.advance(5_000);
    expect((await asked).reason).toBe("ENGINE_TIMEOUT");
    engine.die();
    await using lonely = openDriver(Dialect.TRITON, targetAt("grpc://127.0.0.1:1"));
    expect((await failureOf(lonely.embed?.(embedAttempt(["a"], { model: modelOf() }), calm))).reason).toBe(
      "ENGINE_UNAVAILABLE",
    );
  });
});

describe("TGIS's counts", () => {
  const count = () => tgis.countTokens?.(countAttempt({ case: "prompt", value: "hello" }), calm);
  const counted = (...tokenCounts: number[]) => {
    answers = (call) => {
      expect(call.path).toBe(`/${GenerationService.typeName}/Tokenize`);
      call.send(
        bytesOf(BatchedTokenizeResponseSchema, { responses: tokenCounts.map((tokenCount) => ({ tokenCount })) }),
      );
      call.end();
    };
  };

  test("are the engine's", async () => {
    counted(7);
    expect(await count()).toBe(7);
  });

  test.each([[[]], [[0]], [[3, 4]], [[2 ** 31]]])("of %j are the engine's error", async (counts) => {
    counted(...counts);
    expect((await failureOf(count())).reason).toBe("ENGINE_PROTOCOL");
  });
});
