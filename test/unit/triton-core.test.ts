import { create } from "@bufbuild/protobuf";
import { beforeAll, afterAll, describe, expect, test } from "vitest";
import { ModelMetadataResponseSchema } from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import { ModelConfigSchema } from "../../gen/ts/engine/triton/model_config_pb.ts";
import { Feature, ReplicaModelSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { createTokenizers } from "../../services/drivers/tokens/tokenizers.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import type { Vocabulary } from "../../services/drivers/tokens/vocabulary.ts";
import type { InferMessage } from "../../services/drivers/triton/codec.ts";
import { coreFeatures, type CoreInterface, coreInterfaceOf } from "../../services/drivers/triton/core/interface.ts";
import { CoreReader } from "../../services/drivers/triton/core/reader.ts";
import { coreRequest } from "../../services/drivers/triton/core/request.ts";
import { encodeTensor, numbersOf, type Tensor, tensorOf } from "../../services/drivers/triton/tensors.ts";
import { endId, tokenizerFile } from "../../services/simulator/vocabulary.ts";
import { tokenizerSource } from "../fakes/tokenizer-files.ts";
import { attemptAt } from "../wire/attempts.ts";

const tokenizers = createTokenizers({ clock: systemClock, unusable: () => undefined });
let vocabulary: Vocabulary;
const otherEnd = endId + 2;
beforeAll(async () => {
  vocabulary = await tokenizers.of(tokenizerSource(tokenizerFile(), [endId, otherEnd], endId + 1)).vocabulary;
});
afterAll(() => tokenizers[Symbol.asyncDispose]());

const required = ["input_ids", "input_lengths", "request_output_len"];
const tensor = (name: string) => ({ name, datatype: "INT32", shape: [-1n, -1n] });

function described(inputs: string[], outputs = ["output_ids", "sequence_length"]) {
  const metadata = create(ModelMetadataResponseSchema, {
    name: "tensorrt_llm",
    inputs: inputs.map(tensor),
    outputs: outputs.map(tensor),
  });
  return coreInterfaceOf(
    metadata,
    create(ModelConfigSchema, { maxBatchSize: 8, modelTransactionPolicy: { decoupled: true } }),
  );
}

describe("a core model", () => {
  test("is known by its tensors, and told to stop only where it can be", () => {
    expect(described(required)).toMatchObject({ flavour: "core", batched: true, decoupled: true, stopModel: "" });
    expect(described([...required, "stop"])?.stopModel).toBe("tensorrt_llm");
    expect(described(required.slice(1))).toBeUndefined();
    expect(described(required, ["output_ids"])).toBeUndefined();
  });

  test("streams, and gives choices, if it has the tensors for them", () => {
    const features = (inputs: string[], ...outputs: string[]) => {
      const model = described([...required, ...inputs], ["output_ids", "sequence_length", ...outputs]);
      return model && coreFeatures(model);
    };
    expect(features([])).toEqual([Feature.TOKEN_IDS, Feature.CANCEL]);
    expect(features(["streaming", "num_return_sequences"])).toEqual([
      Feature.TOKEN_IDS,
      Feature.CANCEL,
      Feature.STREAM,
    ]);
    expect(features(["num_return_sequences"], "sequence_index")).toContain(Feature.CHOICES);
  });
});

describe("its request", () => {
  const model = (...inputs: string[]): CoreInterface => {
    const found = described([...required, ...inputs]);
    if (!found) throw new Error("no core");
    return found;
  };
  const built = (one: CoreInterface, sampling = {}) => {
    const attempt = attemptAt(
      create(ReplicaModelSchema, { engineModel: "tensorrt_llm" }),
      { sampling },
      { maxTokens: 9 },
    );
    return coreRequest({ attempt, model: one, ids: Uint32Array.of(5, 6, 7), vocabulary, stream: true });
  };
  const values = (result: ReturnType<typeof built>) => {
    if (result.kind !== "request") throw new Error(result.param);
    const { inputs = [], rawInputContents = [] } = result.request;
    return Object.fromEntries(
      inputs.map(({ name = "", shape = [] }, at) => {
        const raw = rawInputContents[at] ?? new Uint8Array();
        const numbers = numbersOf(tensorOf(name, "INT32", raw.length / 4, raw));
        return [name, { shape: shape.map(Number), numbers }];
      }),
    );
  };

  test("has the ids, how many they are, and the tokens that end and fill", () => {
    expect(values(built(model("end_id", "pad_id", "stop_words_list")))).toEqual({
      input_ids: { shape: [1, 3], numbers: [5, 6, 7] },
      input_lengths: { shape: [1, 1], numbers: [3] },
      request_output_len: { shape: [1, 1], numbers: [9] },
      end_id: { shape: [1, 1], numbers: [endId] },
      pad_id: { shape: [1, 1], numbers: [endId + 1] },
      stop_words_list: { shape: [1, 2, 1], numbers: [otherEnd, 1] },
    });
  });

  test("tells of more tokens that end it, each a word of its own", () => {
    const { stop_words_list: words } = values(built(model("stop_words_list"), { stopTokenIds: [70, 71] }));
    expect(words).toEqual({ shape: [1, 2, 3], numbers: [otherEnd, 70, 71, 1, 2, 3] });
  });

  test("draws from all tokens with a seed of its own, or takes the likeliest", () => {
    const sampled = model("runtime_top_k", "runtime_top_p", "temperature", "seed");
    expect(Object.keys(values(built(sampled))).slice(3)).toEqual(["temperature", "runtime_top_p", "seed"]);
    expect(Object.keys(values(built(sampled, { temperature: 0 }))).slice(3)).toEqual(["temperature", "runtime_top_k"]);
  });

  test("is refused for what has no input", () => {
    expect(built(model(), { minP: 0.5 })).toEqual({ kind: "unsupported", param: "min_p" });
    expect(built(model(), { frequencyPenalty: 0.5 })).toEqual({ kind: "unsupported", param: "frequency_penalty" });
  });
});

describe("its answer", () => {
  const ints = (name: string, ...values: number[]) =>
    tensorOf(name, "INT32", values.length, encodeTensor("INT32", values));
  const response = (ids: number[], more: Tensor[] = []): InferMessage => ({
    error: "",
    id: "",
    final: false,
    tensors: [ints("output_ids", ...ids), ints("sequence_length", ids.length), ...more],
  });
  const bytes = (text: string) => [...Buffer.from(text)];

  function read(messages: readonly InferMessage[], more: Partial<ConstructorParameters<typeof CoreReader>[0]> = {}) {
    const texts = ["", ""];
    const ends: string[] = [];
    const tokens: number[] = [];
    let counts: unknown;
    const wasted: boolean[] = [];
    const finished = new Set<number>();
    const reader = new CoreReader({
      outlet: {
        choices: 2,
        has: (choice) => choice === 0 || choice === 1,
        isFinished: (choice) => finished.has(choice),
        event({ event }: GenerateResponse) {
          if (event.case !== "delta") return;
          texts[event.value.choice] += String(event.value.fragment.value);
          tokens.push(event.value.tokens);
        },
        finish(choice, reason, stop) {
          if (!finished.has(choice))
            ends.push(`${choice} ${reason === FinishReason.LENGTH ? "LENGTH" : "STOP"} ${stop ?? ""}`.trim());
          finished.add(choice);
        },
        count: (told) => void (counts = told),
      },
      vocabulary,
      stops: [],
      stopTokenIds: [],
      promptTokens: 3,
      prompt: new Uint32Array(),
      maxTokens: 100,
      showsSpecial: false,
      tellsIds: false,
      ...more,
    });
    for (const message of messages) wasted.push(reader.read(message));
    reader.ended();
    return { texts, ends, counts, wasted, tokens: tokens.reduce((sum, one) => sum + one, 0) };
  }

  test("is text at the borders of characters, with every id counted", () => {
    const ids = [...bytes("é🌊!"), endId];
    const outcome = read(ids.map((id) => response([id])));
    expect(outcome).toMatchObject({ ends: ["0 STOP"], counts: { promptTokens: 3, completionTokens: 8 }, tokens: 8 });
    expect(outcome.texts[0]).toBe("é🌊!");
    expect(outcome.wasted).not.toContain(true);
  });

  test("ends before a stop text, and the engine is known to go on", () => {
    const { texts, ends, wasted } = read(
      [..."one two"].map((one) => response(bytes(one))),
      { stops: [" t"] },
    );
    expect([texts[0], ends]).toEqual(["one", ["0 STOP  t"]]);
    expect(wasted.indexOf(true)).toBe(4);
  });

  test("ends at any token that ends an answer, and says whether the engine knows of it", () => {
    for (const [end, knows] of [
      [endId, true],
      [otherEnd, false],
      [65, false],
    ] as const) {
      const { texts, ends, wasted } = read([response([...bytes("hi"), end, ...bytes("no")])], { stopTokenIds: [65] });
      expect([texts[0], ends, wasted]).toEqual(["hi", ["0 STOP"], [!knows]]);
    }
  });

  test("is at its length when it has as many tokens as were asked for", () => {
    expect(read([response(bytes("four"))], { maxTokens: 4 }).ends).toEqual(["0 LENGTH"]);
    expect(read([response(bytes("four"))], { maxTokens: 5 }).ends).toEqual(["0 STOP"]);
    expect(read([response([0xf0, 0x9f])], { maxTokens: 2 }).texts[0]).toBe("\ufffd");
  });

  test("is read without the prompt that it repeats, without padding, and by choices", () => {
    const prompt = Uint32Array.from(bytes("ask"));
    expect(read([response(bytes("ask me"))], { prompt }).texts[0]).toBe(" me");
    expect(read([response(bytes("as"))], { prompt }).texts[0]).toBe("as");
    const padded = { ...response([]), tensors: [ints("output_ids", ...bytes("hi"), 0, 0), ints("sequence_length", 2)] };
    expect(read([padded]).texts[0]).toBe("hi");
    const second = [ints("sequence_index", 1)];
    expect(read([response(bytes("a")), response(bytes("b"), second)]).texts).toEqual(["a", "b"]);
  });

  test("breaks the protocol with a choice that was not asked for, or without ids", () => {
    expect(() => read([response(bytes("a"), [ints("sequence_index", 7)])])).toThrow("choice 7 was not asked for");
    expect(() => read([{ ...response([]), tensors: [ints("sequence_length", 1)] }])).toThrow("no output_ids");
  });
});
