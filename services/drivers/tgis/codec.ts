import { FieldReader } from "../grpc/field-reader.ts";

/** What of an answer, or of a part of one, the driver reads. A number of 0 was not said. */
export interface GenerationMessage {
  /** Tokens generated so far. */
  generated: number;
  text: string;
  /** Tokens of the prompt. */
  input: number;
  /** A StopReason, or a number that is none. */
  reason: number;
  stop: string;
  /** Messages TokenInfo. */
  readonly tokens: Uint8Array[];
}

// Read by hand, because it is the one message that comes once a token. Field numbers are those of
// proto/engine/tgis/generation.proto.

/** Reads a GenerationResponse; throws for bytes that are none, invalid UTF-8 included. */
export function decodeGeneration(bytes: Uint8Array): GenerationMessage {
  return readGeneration(new FieldReader(bytes), bytes.length);
}

function readGeneration(reader: FieldReader, end: number): GenerationMessage {
  const message: GenerationMessage = { generated: 0, text: "", input: 0, reason: 0, stop: "", tokens: [] };
  while (reader.next(end)) {
    const { field } = reader;
    if (field === 2) message.generated = reader.number();
    else if (field === 4) message.text = reader.strictText();
    else if (field === 6) message.input = reader.number();
    else if (field === 7) message.reason = reader.signed();
    else if (field === 8) message.tokens.push(reader.slice());
    else if (field === 11) message.stop = reader.strictText();
    else reader.skip();
  }
  return message;
}

/** Reads a BatchedGenerationResponse to one prompt; throws for bytes that are none. */
export function decodeBatch(bytes: Uint8Array): GenerationMessage {
  const reader = new FieldReader(bytes);
  let only: GenerationMessage | undefined;
  while (reader.next(bytes.length)) {
    if (reader.field !== 1) reader.skip();
    else if (only === undefined) only = readGeneration(reader, reader.end());
    else throw new Error("Invalid: more answers than prompts");
  }
  return only ?? decodeGeneration(new Uint8Array());
}
