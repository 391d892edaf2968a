import { FieldReader } from "../grpc/field-reader.ts";

/** What of a response the driver reads. */
export interface GenerationMessage {
  /** Tokens of the prompt; undefined: it does not say. */
  promptTokens: number | undefined;
  output: Output | undefined;
}

/** What is new of a choice. */
export interface Output {
  index: number;
  text: string;
  tokens: number;
  readonly tokenIds: number[];
  end: End | undefined;
}

/** How a choice ended. */
export interface End {
  /** All tokens of the choice; 0: it does not say. */
  tokens: number;
  /** A FinishReason, or a number that is none. */
  reason: number;
  /** The stop text that ended it; empty: none did. */
  stop: string;
}

// Read by hand, because it is the one message that comes once a token. Field numbers are those of
// proto/engine/vllm/inference.proto.

/** Reads a GenerateResponse; throws for bytes that are none, invalid UTF-8 included. */
export function decodeGeneration(bytes: Uint8Array): GenerationMessage {
  const reader = new FieldReader(bytes);
  const message: GenerationMessage = { promptTokens: undefined, output: undefined };
  while (reader.next(bytes.length)) {
    if (reader.field === 1) message.promptTokens = readPromptTokens(reader, reader.end());
    else if (reader.field === 2) message.output = readOutput(reader, reader.end());
    else reader.skip();
  }
  return message;
}

function readPromptTokens(reader: FieldReader, end: number): number {
  let tokens = 0;
  while (reader.next(end)) {
    if (reader.field === 1) tokens = reader.number();
    else reader.skip();
  }
  return tokens;
}

function readOutput(reader: FieldReader, end: number): Output {
  const output: Output = { index: 0, text: "", tokens: 0, tokenIds: [], end: undefined };
  while (reader.next(end)) {
    const { field } = reader;
    if (field === 1) output.index = reader.number();
    else if (field === 2) output.text = reader.strictText();
    else if (field === 3) output.tokens = reader.number();
    else if (field === 4) readIds(reader, output.tokenIds);
    else if (field === 8) output.end = readEnd(reader, reader.end());
    else reader.skip();
  }
  return output;
}

/** Packed or not, as the sender likes. */
function readIds(reader: FieldReader, ids: number[]): void {
  const end = reader.type === 2 ? reader.end() : reader.at + 1;
  while (reader.at < end) ids.push(reader.number());
}

function readEnd(reader: FieldReader, end: number): End {
  const read: End = { tokens: 0, reason: 0, stop: "" };
  while (reader.next(end)) {
    if (reader.field === 1) read.tokens = reader.number();
    else if (reader.field === 2) read.reason = reader.signed();
    else if (reader.field === 5) read.stop = reader.strictText();
    else reader.skip();
  }
  return read;
}
