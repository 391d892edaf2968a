import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { ModelStreamInferResponseSchema } from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import { type InferMessage, ResponseCodec } from "../../services/drivers/triton/codec.ts";
import {
  encodeTensor,
  numberAt,
  numbersOf,
  placesOf,
  type Scalar,
  type Tensor,
  tensorOf,
} from "../../services/drivers/triton/tensors.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const tensor = (datatype: string, raw: string, elements: number) =>
  tensorOf("t", datatype, elements, Buffer.from(raw, "hex"));
const textsOf = (from: Tensor) => {
  const places: number[] = [];
  return Array.from({ length: placesOf(from, places) }, (_, at) =>
    from.bytes.toString("utf8", places[2 * at], places[2 * at + 1]),
  );
};
const decodeStreamResponse = (bytes: Uint8Array) => new ResponseCodec().streamed(bytes);

describe("a tensor's raw form", () => {
  test.each<[string, Scalar[], string]>([
    ["BYTES", ["hi", "", "é"], "02000000686900000000020000" + "00c3a9"],
    ["INT32", [1, -2], "01000000feffffff"],
    ["UINT32", [4294967295], "ffffffff"],
    ["INT64", [-1], "ffffffffffffffff"],
    ["UINT64", [7n], "0700000000000000"],
    ["UINT64", [-1n], "ffffffffffffffff"],
    ["FP32", [0.5], "0000003f"],
    ["FP64", [0.5], "000000000000e03f"],
    ["BOOL", [true, false], "0100"],
  ])("%s of %s", (datatype, values, raw) => {
    expect(hex(encodeTensor(datatype, values))).toBe(raw);
  });

  test("of a type that is not written", () => {
    expect(() => encodeTensor("FP16", [1])).toThrow("FP16");
  });

  test("is read back", () => {
    expect(textsOf(tensor("BYTES", "02000000686900000000", 2))).toEqual(["hi", ""]);
    expect(numbersOf(tensor("INT32", "01000000feffffff", 2))).toEqual([1, -2]);
    expect(numbersOf(tensor("UINT32", "ffffffff", 1))).toEqual([4294967295]);
    expect(numbersOf(tensor("INT64", "0700000000000000", 1))).toEqual([7]);
    expect(numbersOf(tensor("INT64", "feffffffffffffff" + "0000000001000000", 2))).toEqual([-2, 2 ** 32]);
    expect(numbersOf(tensor("UINT64", "ffffffffffffffff", 1))).toEqual([2 ** 64]);
    expect(numbersOf(tensor("FP32", "0000003f", 1))).toEqual([0.5]);
    expect([0, 1, 2].map((at) => numberAt(tensor("INT32", "01000000feffffff", 2), at))).toEqual([1, -2, undefined]);
  });

  test.each([
    ["a number read as text", () => textsOf(tensor("INT32", "01000000", 1)), "not BYTES"],
    ["a type that every object has", () => numbersOf(tensor("constructor", "00000000", 1)), "not a number"],
    ["a text read as number", () => numbersOf(tensor("BYTES", "00000000", 1)), "not a number"],
    ["a length beyond the end", () => textsOf(tensor("BYTES", "0500000068", 1)), "shorter"],
    ["half a length", () => textsOf(tensor("BYTES", "0500", 1)), "shorter"],
    ["a shape of more elements", () => textsOf(tensor("BYTES", "00000000", 2)), "its shape says 2"],
    ["half a number", () => numbersOf(tensor("INT32", "0100", 1)), "2 bytes"],
    ["a number beyond a shape's end", () => numberAt(tensor("INT32", "0100000002000000", 1), 0), "its shape says 1"],
    ["a negative shape", () => numbersOf(tensor("INT32", "01000000", -1)), "its shape says -1"],
  ])("%s is refused", (_, read, problem) => {
    expect(read).toThrow(problem);
  });
});

describe("the reader of stream responses", () => {
  const text = Buffer.from("05000000hello", "latin1");

  test("agrees with the contract", () => {
    const bytes = toBinary(
      ModelStreamInferResponseSchema,
      create(ModelStreamInferResponseSchema, {
        inferResponse: {
          modelName: "ensemble",
          id: "id-1",
          parameters: {
            sequence_id: { parameterChoice: { case: "int64Param", value: 0n } },
            triton_final_response: { parameterChoice: { case: "boolParam", value: true } },
          },
          outputs: [
            { name: "text_output", datatype: "BYTES", shape: [1n, 1n] },
            { name: "num_input_tokens", datatype: "UINT32", shape: [] },
          ],
          rawOutputContents: [text, Buffer.from("07000000", "hex")],
        },
      }),
    );
    const message = decodeStreamResponse(bytes);
    expect(message).toMatchObject({ error: "", id: "id-1", final: true });
    expect(message.tensors.map(({ name, elements }) => [name, elements])).toEqual([
      ["text_output", 1],
      ["num_input_tokens", 1],
    ]);
    expect(message.tensors[1] && numbersOf(message.tensors[1])).toEqual([7]);
  });

  test("reads an error with its id, whatever the order", () => {
    const bytes = toBinary(
      ModelStreamInferResponseSchema,
      create(ModelStreamInferResponseSchema, { errorMessage: "no", inferResponse: { id: "x" } }),
    );
    expect(decodeStreamResponse(bytes)).toEqual({ error: "no", id: "x", final: false, tensors: [] });
  });

  test("reads typed contents, as other servers send them", () => {
    const bytes = toBinary(
      ModelStreamInferResponseSchema,
      create(ModelStreamInferResponseSchema, {
        inferResponse: {
          outputs: [
            {
              name: "text_output",
              datatype: "BYTES",
              shape: [2n],
              contents: { bytesContents: [Buffer.from("a"), Buffer.from("bc")] },
            },
            { name: "num_output_tokens", datatype: "INT32", shape: [1n], contents: { intContents: [3] } },
          ],
        },
      }),
    );
    const [texts, counts] = decodeStreamResponse(bytes).tensors;
    expect(texts && textsOf(texts)).toEqual(["a", "bc"]);
    expect(counts && numbersOf(counts)).toEqual([3]);
  });

  test("throws for bytes that are none, at every length of a cut message", () => {
    const whole = toBinary(
      ModelStreamInferResponseSchema,
      create(ModelStreamInferResponseSchema, { inferResponse: { id: "abc", rawOutputContents: [] } }),
    );
    for (let length = 1; length < whole.length; length += 1) {
      expect(() => decodeStreamResponse(whole.subarray(0, length)), `cut at ${length}`).toThrow();
    }
  });

  describe("of one call", () => {
    const schema = ModelStreamInferResponseSchema;
    type Outputs = NonNullable<NonNullable<MessageInitShape<typeof schema>["inferResponse"]>["outputs"]>;
    const named = (name: string, datatype = "BYTES") => ({ name, datatype, shape: [1n] });
    const encoded = (id: string, outputs: Outputs, ...rawOutputContents: Buffer[]) =>
      toBinary(schema, create(schema, { inferResponse: { id, outputs, rawOutputContents } }));
    const element = (said: string) => Buffer.concat([Buffer.from([said.length, 0, 0, 0]), Buffer.from(said)]);
    const shown = ({ id, tensors }: InferMessage) => [
      id,
      ...tensors.map((one) => `${one.name}=${one.end === one.start ? "" : textsOf(one).join()}`),
    ];

    test("keeps what is said alike, and nothing else", () => {
      const codec = new ResponseCodec();
      const read = (...message: Parameters<typeof encoded>) => codec.streamed(encoded(...message));
      const first = read("x", [named("a"), named("b")], element("1"), element("2")).tensors;
      expect(shown(read("x", [named("a"), named("b")], element("345"), element("")))).toEqual(["x", "a=345", "b="]);
      expect(read("x", [named("a"), named("b")], element("6")).tensors).toBe(first);
      expect(shown(read("x", [named("a"), named("b")], element("6")))).toEqual(["x", "a=6", "b="]);
      expect(shown(read("", [named("b"), named("a")], element("7"), element("8")))).toEqual(["", "b=7", "a=8"]);
      expect(shown(read("y", [named("b")], element("9")))).toEqual(["y", "b=9"]);
      expect(shown(read("x", []))).toEqual(["x"]);
      expect(() => read("x", [named("b", "INT32")], element("9")).tensors.map(textsOf)).toThrow("INT32, not BYTES");
    });

    test("reads typed contents anew each time", () => {
      const codec = new ResponseCodec();
      const typed = (said: string) => [{ ...named("a"), contents: { bytesContents: [Buffer.from(said)] } }];
      expect(shown(codec.streamed(encoded("x", typed("1"))))).toEqual(["x", "a=1"]);
      expect(shown(codec.streamed(encoded("x", typed("2"))))).toEqual(["x", "a=2"]);
      expect(shown(codec.streamed(encoded("x", [named("a")])))).toEqual(["x", "a="]);
    });

    test("takes time that grows with a message of many names, not with its square", () => {
      const count = 200_000;
      const bytes = encoded("x", new Array<Outputs[number]>(count).fill({}));
      expect(new ResponseCodec().streamed(bytes).tensors).toHaveLength(count);
    });
  });
});
