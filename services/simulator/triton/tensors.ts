import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  InferTensorContents,
  ModelInferRequest,
  ModelInferRequest_InferInputTensor,
  ModelInferResponse_InferOutputTensorSchema,
} from "../../../gen/ts/engine/triton/grpc_service_pb.ts";

/** An element of a tensor. Texts are bytes, which need not be UTF-8. */
export type Element = Buffer | string | number | bigint | boolean;

/** A tensor of a request. */
export interface InputTensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly elements: readonly Element[];
}

/** A tensor of a response. */
export interface OutputTensor {
  readonly head: MessageInitShape<typeof ModelInferResponse_InferOutputTensorSchema>;
  readonly raw: Uint8Array;
}

interface NumberType {
  readonly bytes: number;
  read(raw: Buffer, at: number): Element;
  write(raw: Buffer, value: number, at: number): void;
}

const numberTypes: Readonly<Record<string, NumberType>> = {
  BOOL: { bytes: 1, read: (raw, at) => raw.readUInt8(at) !== 0, write: (raw, value, at) => raw.writeUInt8(value, at) },
  INT32: { bytes: 4, read: (raw, at) => raw.readInt32LE(at), write: (raw, value, at) => raw.writeInt32LE(value, at) },
  UINT32: {
    bytes: 4,
    read: (raw, at) => raw.readUInt32LE(at),
    write: (raw, value, at) => raw.writeUInt32LE(value, at),
  },
  INT64: {
    bytes: 8,
    read: (raw, at) => raw.readBigInt64LE(at),
    write: (raw, value, at) => raw.writeBigInt64LE(BigInt(value), at),
  },
  UINT64: {
    bytes: 8,
    read: (raw, at) => raw.readBigUInt64LE(at),
    write: (raw, value, at) => raw.writeBigUInt64LE(BigInt(value), at),
  },
  FP32: { bytes: 4, read: (raw, at) => raw.readFloatLE(at), write: (raw, value, at) => raw.writeFloatLE(value, at) },
};

/** The tensors of a request, or what is wrong with them in the words of Triton's core. */
export function inputTensors(request: ModelInferRequest): InputTensor[] | string {
  const { inputs, rawInputContents } = request;
  const raw = rawInputContents.length > 0;
  const typed = inputs.find((input) => input.contents !== undefined);
  if (raw && typed !== undefined) {
    return `contents field must not be specified when using raw_input_contents for '${typed.name}' for model '${request.modelName}'`;
  }
  if (raw && rawInputContents.length !== inputs.length) {
    return `expected tensor data for inputs, but got ${rawInputContents.length} sets of data for model '${request.modelName}'`;
  }
  const tensors: InputTensor[] = [];
  for (const [index, input] of inputs.entries()) {
    const bytes = rawInputContents[index];
    const elements = bytes === undefined ? typedElements(input) : rawElements(input.datatype, Buffer.from(bytes));
    const shape = input.shape.map(Number);
    const expected = shape.reduce((product, dim) => product * dim, 1);
    if (elements === undefined || elements.length !== expected) {
      return `expected ${expected} elements for inference input '${input.name}' for model '${request.modelName}', got ${elements?.length ?? "bytes that are none"}`;
    }
    tensors.push({ name: input.name, datatype: input.datatype, shape, elements });
  }
  return tensors;
}

function rawElements(datatype: string, raw: Buffer): Element[] | undefined {
  if (datatype === "BYTES") return textElements(raw);
  const type = numberTypes[datatype];
  if (type === undefined || raw.length % type.bytes !== 0) return undefined;
  return Array.from({ length: raw.length / type.bytes }, (_, index) => type.read(raw, index * type.bytes));
}

function textElements(raw: Buffer): Buffer[] | undefined {
  const texts: Buffer[] = [];
  for (let at = 0; at < raw.length; ) {
    if (at + 4 > raw.length) return undefined;
    const end = at + 4 + raw.readUInt32LE(at);
    if (end > raw.length) return undefined;
    texts.push(raw.subarray(at + 4, end));
    at = end;
  }
  return texts;
}

function typedElements({ datatype, contents }: ModelInferRequest_InferInputTensor): Element[] | undefined {
  if (contents === undefined) return undefined;
  const byType: Readonly<Record<string, (of: InferTensorContents) => Element[]>> = {
    BYTES: (of) => of.bytesContents.map((bytes) => Buffer.from(bytes)),
    BOOL: (of) => of.boolContents,
    INT32: (of) => of.intContents,
    UINT32: (of) => of.uintContents,
    INT64: (of) => of.int64Contents,
    UINT64: (of) => of.uint64Contents,
    FP32: (of) => of.fp32Contents,
  };
  return byType[datatype]?.(contents);
}

/** A tensor of texts. */
export function texts(name: string, values: readonly string[]): OutputTensor {
  const parts = values.flatMap((value) => {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return [length, bytes];
  });
  return { head: { name, datatype: "BYTES", shape: [BigInt(values.length)] }, raw: Buffer.concat(parts) };
}

/** A tensor of numbers. An empty shape is one number without a dimension. */
export function numbers(
  name: string,
  datatype: "INT32" | "UINT32" | "FP32",
  shape: readonly number[],
  values: readonly number[],
): OutputTensor {
  const type = numberTypes[datatype];
  if (type === undefined) throw new Error(`${datatype} has no numbers`);
  const raw = Buffer.alloc(values.length * type.bytes);
  for (const [index, value] of values.entries()) type.write(raw, value, index * type.bytes);
  return { head: { name, datatype, shape: shape.map(BigInt) }, raw };
}
