import type { BinaryReader } from "@bufbuild/protobuf/wire";

/** Where the field of known length that begins here ends. Throws if its length is a lie. */
export function endOfField(reader: BinaryReader): number {
  return endAfter(reader, reader.uint32());
}

/** The position after so many bytes, if the message is that long. */
export function endAfter(reader: BinaryReader, length: number): number {
  const end = reader.pos + length;
  if (end > reader.len) throw new RangeError("a field is longer than its message");
  return end;
}
