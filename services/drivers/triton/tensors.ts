/** An element of a tensor. */
export type Scalar = string | number | bigint | boolean;

/** A tensor of a response. */
export interface Tensor {
  readonly name: string;
  readonly datatype: string;
  /** The product of its shape. */
  readonly elements: number;
  /** Its raw elements lie from `start` to `end` in these: little-endian, for BYTES each with a 32-bit length before it. */
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
}

/** A tensor of these raw elements. */
export function tensorOf(name: string, datatype: string, elements: number, raw: Uint8Array): Tensor {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  return { name, datatype, elements, bytes, start: 0, end: bytes.length };
}

/** A tensor that is not what it says. */
export class TensorProblem extends Error {}

interface NumberType {
  readonly size: number;
  write(view: DataView, at: number, value: Scalar): void;
  read(bytes: Buffer, at: number): number;
}

const numberTypes: ReadonlyMap<string, NumberType> = new Map(
  Object.entries<NumberType>({
    BOOL: {
      size: 1,
      write: (view, at, value) => view.setUint8(at, value ? 1 : 0),
      read: (bytes, at) => bytes.readUInt8(at),
    },
    INT32: {
      size: 4,
      write: (view, at, value) => view.setInt32(at, Number(value), true),
      read: (bytes, at) => bytes.readInt32LE(at),
    },
    UINT32: {
      size: 4,
      write: (view, at, value) => view.setUint32(at, Number(value), true),
      read: (bytes, at) => bytes.readUInt32LE(at),
    },
    INT64: {
      size: 8,
      write: (view, at, value) => view.setBigInt64(at, integer(value), true),
      read: (bytes, at) => bytes.readInt32LE(at + 4) * 2 ** 32 + bytes.readUInt32LE(at),
    },
    // Negative integers wrap around, so that every seed is one.
    UINT64: {
      size: 8,
      write: (view, at, value) => view.setBigUint64(at, BigInt.asUintN(64, integer(value)), true),
      read: (bytes, at) => bytes.readUInt32LE(at + 4) * 2 ** 32 + bytes.readUInt32LE(at),
    },
    FP32: {
      size: 4,
      write: (view, at, value) => view.setFloat32(at, Number(value), true),
      read: (bytes, at) => bytes.readFloatLE(at),
    },
    FP64: {
      size: 8,
      write: (view, at, value) => view.setFloat64(at, Number(value), true),
      read: (bytes, at) => bytes.readDoubleLE(at),
    },
  }),
);

/** Whether this code can write a tensor of the type. */
export function isWritable(datatype: string): boolean {
  return datatype === "BYTES" || numberTypes.has(datatype);
}

/** The raw form of some elements. */
export function encodeTensor(datatype: string, values: readonly Scalar[]): Uint8Array {
  if (datatype === "BYTES") return encodeTexts(values.map(String));
  const type = numberTypes.get(datatype);
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

/**
 * Where the elements of a BYTES tensor lie in its bytes: writes the begin and the end of each into `places`, which may hold
 * more of an earlier tensor. Returns how many there are.
 */
export function placesOf(tensor: Tensor, places: number[]): number {
  const { bytes, end } = tensor;
  if (tensor.datatype !== "BYTES") throw new TensorProblem(`${tensor.name} is ${tensor.datatype}, not BYTES`);
  let count = 0;
  for (let at = tensor.start; at < end; count += 1) {
    const start = at + 4;
    at = start <= end ? start + bytes.readUInt32LE(start - 4) : end + 1;
    if (at > end) throw new TensorProblem(`${tensor.name} is shorter than its lengths say`);
    places[2 * count] = start;
    places[2 * count + 1] = at;
  }
  check(tensor, count);
  return count;
}

/** The elements of a tensor of numbers. */
export function numbersOf(tensor: Tensor): number[] {
  const type = typeOf(tensor);
  const numbers: number[] = [];
  for (let at = tensor.start; at < tensor.end; at += type.size) numbers.push(type.read(tensor.bytes, at));
  return numbers;
}

/** An element of a tensor of numbers; undefined: it has fewer. */
export function numberAt(tensor: Tensor, index: number): number | undefined {
  const type = typeOf(tensor);
  return index < tensor.elements ? type.read(tensor.bytes, tensor.start + index * type.size) : undefined;
}

/** Throws for a tensor that is not of as many numbers as it says. */
function typeOf(tensor: Tensor): NumberType {
  const type = numberTypes.get(tensor.datatype);
  if (!type) throw new TensorProblem(`${tensor.name} is ${tensor.datatype}, not a number`);
  const length = tensor.end - tensor.start;
  const count = length / type.size;
  if (!Number.isInteger(count)) throw new TensorProblem(`${tensor.name} has ${length} bytes`);
  check(tensor, count);
  return type;
}

function check(tensor: Tensor, count: number): void {
  if (count === tensor.elements) return;
  throw new TensorProblem(`${tensor.name} has ${count} elements, and its shape says ${tensor.elements}`);
}

function integer(value: Scalar): bigint {
  return typeof value === "bigint" ? value : BigInt(Math.trunc(Number(value)));
}
