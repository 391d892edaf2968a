import { fromBinary } from "@bufbuild/protobuf";
import { InferTensorContentsSchema } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import { FieldReader } from "../grpc/field-reader.ts";
import { encodeTensor, type Scalar, type Tensor } from "./tensors.ts";

/** What of a response the driver reads. */
export interface InferMessage {
  /** Empty if there is none. */
  error: string;
  /** The request that it answers; empty if it does not say. */
  id: string;
  /** Whether it is the request's last response; false where it does not say. */
  final: boolean;
  tensors: Tensor[];
}

/** A tensor without its elements, which may follow elsewhere in the message. */
interface Head {
  name: string;
  datatype: string;
  elements: number;
  contents: Uint8Array | undefined;
}

// Read by hand, because it is the one message that comes once a token. Field numbers are those of
// proto/engine/triton/grpc_service.proto.

/** Reads a ModelStreamInferResponse; throws for bytes that are none. */
export function decodeStreamResponse(bytes: Uint8Array): InferMessage {
  const reader = new FieldReader(bytes);
  let message: InferMessage = { error: "", id: "", final: false, tensors: [] };
  let error = "";
  while (reader.next(bytes.length)) {
    if (reader.field === 1) error = reader.text();
    else if (reader.field === 2) message = readResponse(reader, reader.end());
    else reader.skip();
  }
  message.error = error;
  return message;
}

/** Reads a ModelInferResponse; throws for bytes that are none. */
export function decodeResponse(bytes: Uint8Array): InferMessage {
  return readResponse(new FieldReader(bytes), bytes.length);
}

function readResponse(reader: FieldReader, end: number): InferMessage {
  const message: InferMessage = { error: "", id: "", final: false, tensors: [] };
  const heads: Head[] = [];
  /** Where each raw tensor begins and ends. */
  const raws: number[] = [];
  while (reader.next(end)) {
    const { field } = reader;
    if (field === 3) message.id = reader.text();
    else if (field === 4) message.final = readIsFinal(reader, reader.end(), message.final);
    else if (field === 5) heads.push(headOf(reader, reader.end()));
    else if (field === 6) {
      const rawEnd = reader.end();
      raws.push(reader.at, rawEnd);
      reader.at = rawEnd;
    } else reader.skip();
  }
  if (raws.length > 2 * heads.length) throw new Error("more tensors than the response names");
  for (const head of heads) {
    const at = 2 * message.tensors.length;
    const [start, rawEnd] = [raws[at], raws[at + 1]];
    message.tensors.push(
      start === undefined || rawEnd === undefined
        ? { name: head.name, datatype: head.datatype, elements: head.elements, raw: rawFromContents(head) }
        : new LentTensor(head, reader.bytes, start, rawEnd),
    );
  }
  return message;
}

/** A part of the message, which is cut out when it is read: of most tensors nobody wants the elements. */
class LentTensor implements Tensor {
  readonly name: string;
  readonly datatype: string;
  readonly elements: number;
  readonly #bytes: Buffer;
  readonly #start: number;
  readonly #end: number;

  constructor({ name, datatype, elements }: Head, bytes: Buffer, start: number, end: number) {
    this.name = name;
    this.datatype = datatype;
    this.elements = elements;
    this.#bytes = bytes;
    this.#start = start;
    this.#end = end;
  }

  get raw(): Buffer {
    return this.#bytes.subarray(this.#start, this.#end);
  }
}

/** One entry of the map of parameters; only triton_final_response counts. */
function readIsFinal(reader: FieldReader, end: number, before: boolean): boolean {
  let name = "";
  let value = false;
  while (reader.next(end)) {
    if (reader.field === 1) name = reader.text();
    else if (reader.field === 2) value = readFlag(reader, reader.end());
    else reader.skip();
  }
  return name === "triton_final_response" ? value : before;
}

/** False for a parameter of another type. */
function readFlag(reader: FieldReader, end: number): boolean {
  let flag = false;
  while (reader.next(end)) {
    if (reader.field === 1) flag = reader.flag();
    else reader.skip();
  }
  return flag;
}

/** A model names its tensors in each response, and mostly in the same bytes. */
const known = new Map<string, Head>();
const knownMax = 1_024;
const knownBytesMax = 128;

function headOf(reader: FieldReader, end: number): Head {
  if (end - reader.at > knownBytesMax) return readHead(reader, end);
  const key = reader.bytes.toString("latin1", reader.at, end);
  const before = known.get(key);
  if (before !== undefined) {
    reader.at = end;
    return before;
  }
  const head = readHead(reader, end);
  // Contents are of one response.
  if (head.contents !== undefined) return head;
  if (known.size === knownMax) known.clear();
  known.set(key, head);
  return head;
}

function readHead(reader: FieldReader, end: number): Head {
  const head: Head = { name: "", datatype: "", elements: 1, contents: undefined };
  while (reader.next(end)) {
    const { field } = reader;
    if (field === 1) head.name = reader.text();
    else if (field === 2) head.datatype = reader.text();
    else if (field === 3) {
      // Packed or not, as the sender likes.
      const shapeEnd = reader.type === 2 ? reader.end() : reader.at + 1;
      while (reader.at < shapeEnd) head.elements *= reader.long();
    } else if (field === 5) head.contents = reader.slice();
    else reader.skip();
  }
  return head;
}

/** Triton sends raw tensors only; other servers of the protocol may use the typed form. */
function rawFromContents(head: Head): Uint8Array {
  if (!head.contents) return new Uint8Array();
  const typed = fromBinary(InferTensorContentsSchema, head.contents);
  if (head.datatype === "BYTES") {
    const lengths = typed.bytesContents.map((bytes) => Buffer.from(encodeTensor("UINT32", [bytes.length])));
    return Buffer.concat(typed.bytesContents.flatMap((bytes, index) => [lengths[index] ?? Buffer.alloc(0), bytes]));
  }
  const byType: Readonly<Record<string, readonly Scalar[]>> = {
    BOOL: typed.boolContents,
    INT32: typed.intContents,
    UINT32: typed.uintContents,
    INT64: typed.int64Contents,
    UINT64: typed.uint64Contents,
    FP32: typed.fp32Contents,
    FP64: typed.fp64Contents,
  };
  return encodeTensor(head.datatype, byType[head.datatype] ?? []);
}
