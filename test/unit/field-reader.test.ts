import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { expect, test } from "vitest";
import { FieldReader } from "../../services/drivers/grpc/field-reader.ts";

function reading(write: (writer: BinaryWriter) => BinaryWriter): FieldReader {
  const reader = new FieldReader(write(new BinaryWriter()).finish());
  expect(reader.next(reader.bytes.length)).toBe(true);
  return reader;
}

test.each([0, 1, 127, 128, 300, 2 ** 28 - 1, 2 ** 28, 2 ** 31, 2 ** 32 - 1])("a number of %i", (value) => {
  const reader = reading((writer) => writer.tag(300, 0).uint32(value));
  expect([reader.field, reader.number(), reader.next(reader.bytes.length)]).toEqual([300, value, false]);
});

test.each([0, 1, -1, 2 ** 31 - 1, -(2 ** 31)])("a signed number of %i", (value) => {
  expect(reading((writer) => writer.tag(1, 0).int32(value)).signed()).toBe(value);
});

test.each([0, 1, -1, 2 ** 32, -(2 ** 40), Number.MAX_SAFE_INTEGER])("a long number of %i", (value) => {
  expect(reading((writer) => writer.tag(1, 0).int64(value)).long()).toBe(value);
});

test("a flag, also one that is written as a long number", () => {
  expect(reading((writer) => writer.tag(1, 0).bool(true)).flag()).toBe(true);
  expect(reading((writer) => writer.tag(1, 0).bool(false)).flag()).toBe(false);
  expect(reading((writer) => writer.tag(1, 0).int64(2n ** 40n)).flag()).toBe(true);
});

test("texts and bytes", () => {
  const text = "\uFEFFa river 水 \uFFFD";
  expect(reading((writer) => writer.tag(1, 2).string(text)).text()).toBe(text);
  expect(reading((writer) => writer.tag(1, 2).string(text)).strictText()).toBe(text);
  const broken = Uint8Array.of(0x61, 0xe6, 0xb0);
  expect(reading((writer) => writer.tag(1, 2).bytes(broken)).text()).toBe("a\uFFFD");
  expect(() => reading((writer) => writer.tag(1, 2).bytes(broken)).strictText()).toThrow(TypeError);
  expect(reading((writer) => writer.tag(1, 2).bytes(broken)).slice()).toEqual(Buffer.from(broken));
});

test("fields of every type are skipped", () => {
  const reader = reading((writer) =>
    writer
      .tag(1, 0)
      .int64(-1n)
      .tag(2, 1)
      .fixed64(7n)
      .tag(3, 2)
      .string("skipped")
      .tag(4, 5)
      .fixed32(7)
      .tag(5, 0)
      .uint32(9),
  );
  while (reader.field !== 5) {
    reader.skip();
    reader.next(reader.bytes.length);
  }
  expect(reader.number()).toBe(9);
});

test.each<[string, number[], (reader: FieldReader) => unknown]>([
  ["a text that is longer than its message", [0x0a, 5, 0x61], (reader) => reader.text()],
  ["bytes that are longer than their message", [0x0a, 5, 0x61], (reader) => reader.skip()],
  ["a number without an end", [0x08, ...Array<number>(10).fill(0xff)], (reader) => reader.number()],
  ["a number that is cut", [0x08, 0x80], (reader) => reader.number()],
  ["a number where a text should be", [0x08, 1, 0x61], (reader) => reader.text()],
  ["eight bytes that are cut", [0x09, 1], (reader) => reader.skip()],
  ["a group", [0x0b, 0x0c], (reader) => reader.skip()],
  ["a field that ends behind its message", [0x0a, 2, 0x08, 0x80, 0x01], (reader) => nested(reader)],
])("%s is refused", (_, bytes, read) => {
  const reader = new FieldReader(Uint8Array.from(bytes));
  reader.next(bytes.length);
  expect(() => read(reader)).toThrow(RangeError);
});

test("a field of number 0 is refused", () => {
  const reader = new FieldReader(Uint8Array.of(0x00, 0x01));
  expect(() => reader.next(2)).toThrow(RangeError);
});

function nested(reader: FieldReader): void {
  const end = reader.end();
  while (reader.next(end)) reader.number();
}
