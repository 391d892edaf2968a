/** An element of a tensor. */
export type Scalar = string | number | bigint | boolean;

/** A tensor of a response. */
export interface Tensor {
  readonly name: string;
  readonly datatype: string;
  /** The product of its shape. */
  readonly elements: number;
  /** Raw little-endian elements; for BYTES each with a 32-bit length before it. */
  readonly raw: Uint8Array;
}

/** A tensor that is not what it says. */
export class TensorProblem extends Error {}

interface NumberType {
  readonly size: number;
  write(view: DataView, at: number, value: Scalar): void;
  read(view: DataView, at: number): number;
}

const numberTypes: Readonly<Record<string, NumberType>> = {
  BOOL: {
    size: 1,
    write: (view, at, value) => view.setUint8(at, value ? 1 : 0),
    read: (view, at) => view.getUint8(at),
  },
  INT32: {
    size: 4,
    write: (view, at, value) => view.setInt32(at, Number(value), true),
    read: (view, at) => view.getInt32(at, true),
  },
  UINT32: {
    size: 4,
    write: (view, at, value) => view.setUint32(at, Number(value), true),
    read: (view, at) => view.getUint32(at, true),
  },
  INT64: {
    size: 8,
    write: (view, at, value) => view.setBigInt64(at, integer(value), true),
    read: (view, at) => Number(view.getBigInt64(at, true)),
  },
  // Negative integers wrap around, so that every seed is one.
  UINT64: {
    size: 8,
    write: (view, at, value) => view.setBigUint64(at, BigInt.asUintN(64, integer(value)), true),
    read: (view, at) => Number(view.getBigUint64(at, true)),
  },
  FP32: {
    size: 4,
    write: (view, at, value) => view.setFloat32(at, Number(value), true),
    read: (view, at) => view.getFloat32(at, true),
  },
  FP64: {
    size: 8,
    write: (view, at, value) => view.setFloat64(at, Number(value), true),
    read: (view, at) => view.getFloat64(at, true),
  },
};

/** Whether this code can write a tensor of the type. */
export function isWritable(datatype: string): boolean {
  return datatype === "BYTES" || datatype in numberTypes;
}

/** The raw form of some elements. */
export function encodeTensor(datatype: string, values: readonly Scalar[]): Uint8Array {
  if (datatype === "BYTES") return encodeTexts(values.map(String));
  const type = numberTypes[datatype];
  if (!type) throw new TensorProblem(`tensors of ${datatype} cannot be written`);
  const bytes = new Uint8Array(values.length * type.size);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => {
    type.write(view, index * type.size, value);
  });
  return bytes;
}

function encodeTexts(texts: readonly string[]): Uint8Array {
  const lengths = texts.map((text) => Buffer.byteLength(text));
  const bytes = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + 4 + length, 0));
  let at = 0;
  texts.forEach((text, index) => {
    bytes.writeUInt32LE(lengths[index] ?? 0, at);
    bytes.write(text, at + 4);
    at += 4 + (lengths[index] ?? 0);
  });
  return bytes;
}

/** The bytes of each element of a BYTES tensor. */
export function textsOf(tensor: Tensor): Buffer[] {
  if (tensor.datatype !== "BYTES") throw new TensorProblem(`${tensor.name} is ${tensor.datatype}, not BYTES`);
  const raw = toBuffer(tensor.raw);
  const texts: Buffer[] = [];
  for (let at = 0; at < raw.length; ) {
    const start = at + 4;
    const end = start <= raw.length ? start + raw.readUInt32LE(at) : raw.length + 1;
    if (end > raw.length) throw new TensorProblem(`${tensor.name} is shorter than its lengths say`);
    texts.push(raw.subarray(start, end));
    at = end;
  }
  return checked(tensor, texts);
}

/** The elements of a tensor of numbers. */
export function numbersOf(tensor: Tensor): number[] {
  const type = numberTypes[tensor.datatype];
  if (!type) throw new TensorProblem(`${tensor.name} is ${tensor.datatype}, not a number`);
  const { raw } = tensor;
  if (raw.length % type.size !== 0) throw new TensorProblem(`${tensor.name} has ${raw.length} bytes`);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const numbers: number[] = [];
  for (let at = 0; at < raw.length; at += type.size) numbers.push(type.read(view, at));
  return checked(tensor, numbers);
}

function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function checked<T>(tensor: Tensor, elements: T[]): T[] {
  if (elements.length === tensor.elements) return elements;
  throw new TensorProblem(`${tensor.name} has ${elements.length} elements, and its shape says ${tensor.elements}`);
}

function integer(value: Scalar): bigint {
  return typeof value === "bigint" ? value : BigInt(Math.trunc(Number(value)));
}
