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
  /** The same array as long as the tensors are called the same. */
  tensors: readonly Tensor[];
}

const none = Buffer.alloc(0);
const finalName = Buffer.from("triton_final_response");

/** A tensor of a call, whose elements are those of the last response. */
class ReadTensor implements Tensor {
  readonly name: string;
  readonly datatype: string;
  readonly elements: number;
  /** What the message said of it, its elements aside; undefined: they were among it. */
  readonly head: Buffer | undefined;
  bytes: Buffer;
  start = 0;
  end: number;

  constructor({ name, datatype, elements, contents }: Head, head: Buffer) {
    this.name = name;
    this.datatype = datatype;
    this.elements = elements;
    this.head = contents === undefined ? head : undefined;
    this.bytes = none;
    this.end = 0;
    if (contents !== undefined) this.hold(rawFromContents(datatype, contents));
  }

  hold(bytes: Buffer, start = 0, end = bytes.length): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
  }
}

/** What a message says of a tensor. */
interface Head {
  name: string;
  datatype: string;
  elements: number;
  contents: Buffer | undefined;
}

/**
 * Reads the responses of one call, by hand, because they are the messages that come once a token. Each has the same id,
 * and its tensors are called the same, mostly in the same bytes: so those are compared, and not read again.
 *
 * A message is valid until the next one is read. Field numbers are those of proto/engine/triton/grpc_service.proto.
 */
export class ResponseCodec {
  readonly #message: InferMessage = { error: "", id: "", final: false, tensors: [] };
  #id = "";
  #idBytes: Buffer = none;
  #tensors: ReadTensor[] = [];
  /** The message has called its tensors otherwise than the one before. */
  #differs = false;
  /** Where each raw tensor of the message begins and ends. */
  readonly #raws: number[] = [];

  /** Reads a ModelStreamInferResponse; throws for bytes that are none. */
  streamed(bytes: Uint8Array): InferMessage {
    const reader = new FieldReader(bytes);
    let error = "";
    this.#begin();
    while (reader.next(bytes.length)) {
      if (reader.field === 1) error = reader.text();
      else if (reader.field === 2) this.#read(reader, reader.end());
      else reader.skip();
    }
    this.#message.error = error;
    return this.#message;
  }

  /** Reads a ModelInferResponse; throws for bytes that are none. */
  single(bytes: Uint8Array): InferMessage {
    this.#read(new FieldReader(bytes), bytes.length);
    return this.#message;
  }

  #begin(): void {
    const message = this.#message;
    message.error = "";
    message.id = "";
    message.final = false;
    message.tensors = nothing;
  }

  #read(reader: FieldReader, end: number): void {
    this.#begin();
    const message = this.#message;
    this.#differs = false;
    let heads = 0;
    let raws = 0;
    while (reader.next(end)) {
      const { field } = reader;
      if (field === 3) message.id = this.#readId(reader);
      else if (field === 4) message.final = readIsFinal(reader, reader.end(), message.final);
      else if (field === 5) this.#readHead(reader, reader.end(), heads++);
      else if (field === 6) {
        const rawEnd = reader.end();
        this.#raws[raws++] = reader.at;
        this.#raws[raws++] = rawEnd;
        reader.at = rawEnd;
      } else reader.skip();
    }
    if (raws > 2 * heads) throw new Error("more tensors than the response names");
    if (heads < this.#tensors.length) this.#tensors = this.#tensors.slice(0, heads);
    for (let at = 0; at < raws; at += 2) {
      this.#tensors[at / 2]?.hold(reader.bytes, this.#raws[at], this.#raws[at + 1]);
    }
    for (let at = raws / 2; at < heads; at += 1) if (this.#tensors[at]?.head) this.#tensors[at]?.hold(none);
    message.tensors = this.#tensors;
  }

  #readId(reader: FieldReader): string {
    const end = reader.end();
    if (!reader.holds(end, this.#idBytes)) {
      this.#idBytes = Buffer.from(reader.bytes.subarray(reader.at, end));
      this.#id = this.#idBytes.toString();
    }
    reader.at = end;
    return this.#id;
  }

  #readHead(reader: FieldReader, end: number, index: number): void {
    const before = this.#tensors[index]?.head;
    if (before !== undefined && reader.holds(end, before)) {
      reader.at = end;
      return;
    }
    // A copy, which does not keep the message.
    const bytes = Buffer.from(reader.bytes.subarray(reader.at, end));
    if (!this.#differs) this.#tensors = this.#tensors.slice(0, index);
    this.#differs = true;
    this.#tensors.push(new ReadTensor(headFrom(reader, end), bytes));
  }
}

const nothing: readonly Tensor[] = [];

/** One entry of the map of parameters; only triton_final_response counts. */
function readIsFinal(reader: FieldReader, end: number, before: boolean): boolean {
  let counts = false;
  let value = false;
  while (reader.next(end)) {
    if (reader.field === 1) {
      const nameEnd = reader.end();
      counts = reader.holds(nameEnd, finalName);
      reader.at = nameEnd;
    } else if (reader.field === 2) value = readFlag(reader, reader.end());
    else reader.skip();
  }
  return counts ? value : before;
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

function headFrom(reader: FieldReader, end: number): Head {
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
function rawFromContents(datatype: string, contents: Buffer): Buffer {
  const typed = fromBinary(InferTensorContentsSchema, contents);
  if (datatype === "BYTES") {
    const lengths = typed.bytesContents.map((bytes) => Buffer.from(encodeTensor("UINT32", [bytes.length])));
    return Buffer.concat(typed.bytesContents.flatMap((bytes, index) => [lengths[index] ?? none, bytes]));
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
  return Buffer.from(encodeTensor(datatype, byType[datatype] ?? []));
}
