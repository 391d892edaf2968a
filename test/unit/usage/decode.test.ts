import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { UsageRecordSchema } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { type Decoded, decodeRecord } from "../../../services/usage/decode.ts";
import { recordFromRow } from "../../../services/usage/message.ts";
import { createSeriesIndex } from "../../../services/usage/series.ts";
import { seededRandom } from "../../fakes/seeded-random.ts";
import { makeHistory } from "../../fakes/usage-histories.ts";
import { bytesOf, usageRecord } from "../../fakes/usage-records.ts";

const id = "019d463c-2d2e-77c3-8432-5e4b884bfa3f";
const admitMs = 1_775_000_000_123;
const index = createSeriesIndex();
const decode = (bytes: Uint8Array): Decoded => decodeRecord(Buffer.from(bytes), 0, bytes.length, index);

test("what is read is what the generated code reads", () => {
  const { words } = makeHistory({ random: seededRandom(3), requests: 200, startMs: admitMs, lengthMs: 1_000 });
  for (const word of words) {
    const decoded = decode(bytesOf(word));
    if (decoded.kind !== "read") throw new Error(decoded.problem);
    const { cost: _, ...told } = recordFromRow(decoded.row);
    expect(create(UsageRecordSchema, told)).toEqual(fromBinary(UsageRecordSchema, bytesOf(word)));
  }
});

test("a record lies where it is said to lie", () => {
  const bytes = Buffer.from(bytesOf(usageRecord(id, admitMs)));
  const around = Buffer.concat([Buffer.from("before"), bytes, Buffer.from("after")]);
  expect(decodeRecord(around, 6, 6 + bytes.length, index)).toEqual(decode(bytes));
});

test("a record that is cut off anywhere is told to be malformed, or lacks what comes last", () => {
  const bytes = bytesOf(usageRecord(id, admitMs));
  const whole = decode(bytes);
  for (let length = 0; length < bytes.length; length++) expect(decode(bytes.subarray(0, length))).not.toEqual(whole);
});

test("no bytes at all bring it down", () => {
  const random = seededRandom(5);
  const bytes = bytesOf(usageRecord(id, admitMs));
  for (let round = 0; round < 20_000; round++) {
    const flipped = Uint8Array.from(bytes);
    for (let flips = 1 + random.below(4); flips > 0; flips--) flipped[random.below(flipped.length)] = random.below(256);
    expect(["read", "malformed"]).toContain(decode(flipped).kind);
  }
});

test("fields may come in any order, and of one that comes twice the last one holds", () => {
  const random = seededRandom(6);
  const { words } = makeHistory({ random, requests: 30, startMs: admitMs, lengthMs: 1_000 });
  for (const word of words) {
    const attempts = word.attempts.slice(0, 1);
    const fields = fieldsOf(bytesOf({ ...word, attempts }));
    const expected = decode(Buffer.concat(fields));
    expect(expected.kind).toBe("read");
    expect(decode(Buffer.concat(random.shuffled(fields)))).toEqual(expected);
    const earlier = fieldsOf(bytesOf(usageRecord(id, admitMs, { projectId: "another", model: "other", attempts: [] })));
    expect(decode(Buffer.concat([...earlier, ...random.shuffled(fields)]))).toEqual(
      decode(bytesOf(fromBinary(UsageRecordSchema, Buffer.concat([...earlier, ...fields])))),
    );
  }
});

/** The fields of a message, each as its bytes. */
function fieldsOf(bytes: Uint8Array): Uint8Array[] {
  const reader = new BinaryReader(bytes);
  const fields: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [field, type] = reader.tag();
    reader.skip(type, field);
    fields.push(bytes.subarray(start, reader.pos));
  }
  return fields;
}

test("fields of a later contract are passed over", () => {
  const bytes = bytesOf(usageRecord(id, admitMs));
  // Field 200 as a varint, 8 bytes, a text and 4 bytes; field 1 with a foreign type.
  const later = [
    0xc0, 0x0c, 0xff, 0x01, 0xc1, 0x0c, 1, 2, 3, 4, 5, 6, 7, 8, 0xc2, 0x0c, 2, 1, 1, 0xc5, 0x0c, 1, 2, 3, 4,
  ];
  expect(decode(Uint8Array.from([...later, ...bytes, ...later, 0x08, 0x01]))).toEqual(decode(bytes));
});

test.each([
  ["a group that is not ended", [0x0b]],
  ["a length beyond the end", [0x0a, 0x7f, 0x41]],
  ["a varint without an end", [0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
  ["a negative length", [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
] as const)("%s is malformed", (_name, more) => {
  const decoded = decode(Uint8Array.from([...bytesOf(usageRecord(id, admitMs)), ...more]));
  expect(decoded).toMatchObject({ kind: "malformed", problem: "it is no record in protobuf's binary form" });
});

test("text that PostgreSQL cannot keep is malformed, and every other text is kept as it is", () => {
  const named = (model: string) => decode(bytesOf(usageRecord(id, admitMs, { model })));
  expect(named("a\0b").kind).toBe("malformed");
  expect(named("\ufffd ünï 模型 🙂")).toMatchObject({ row: { series: { model: "\ufffd ünï 模型 🙂" } } });
  const bytes = Buffer.from(bytesOf(usageRecord(id, admitMs, { model: "broken" })));
  bytes[bytes.indexOf("broken")] = 0xff;
  expect(decode(bytes)).toMatchObject({ kind: "malformed", requestId: id });
});

test("counts beyond what is exact stay beyond it, and negative ones negative", () => {
  const counted = (promptTokens: bigint) => {
    const decoded = decode(bytesOf(usageRecord(id, admitMs, { tokens: { promptTokens } })));
    return decoded.kind === "read" ? decoded.row.tokens.promptTokens : undefined;
  };
  expect(counted(2n ** 53n - 1n)).toBe(2 ** 53 - 1);
  expect(counted(2n ** 63n - 1n)).toBeGreaterThan(2 ** 62);
  expect(counted(-1n)).toBe(-1);
  expect(counted(-(2n ** 40n))).toBe(-(2 ** 40));
  expect(counted(-(2n ** 63n))).toBe(-(2 ** 63));
});

test("times are cut to the millisecond", () => {
  const admitTime = { ...timestampFromMs(admitMs), nanos: 123_999_999 };
  const decoded = decode(toBinary(UsageRecordSchema, usageRecord(id, admitMs, { admitTime })));
  expect(decoded).toMatchObject({ row: { admitMs } });
});
