import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { GenerateRequestSchema } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { leavesOf } from "../../../services/router/quarantine/leaves.ts";
import { Reading } from "../../../services/router/quarantine/reading.ts";

function digest(message: object): string {
  const reading = new Reading(leavesOf(message));
  for (;;) {
    const read = reading.step();
    if (typeof read === "string") return read;
  }
}

const request = create(GenerateRequestSchema, {
  model: "m",
  input: { case: "tokenIds", value: { ids: Array.from({ length: 20_000 }, (_, at) => at) } },
  sampling: { temperature: 0.5, topP: 0.9, logitBias: { 7: 1, 3: -1 } },
  tools: [{ name: "gauge", parametersJson: '{"type":"object"}', strict: true }],
});

test("a request says the same whoever built it", () => {
  const sent = fromBinary(GenerateRequestSchema, toBinary(GenerateRequestSchema, request));
  const { sampling, ...rest } = request;
  expect(digest(sent)).toBe(digest(request));
  expect(digest({ sampling, ...rest })).toBe(digest(request));
});

test.each<[string, object, object]>([
  ["text", { text: "a" }, { text: "b" }],
  ["where text ends", { texts: ["ab", "c"] }, { texts: ["a", "bc"] }],
  ["the end of a long text", { text: `${"é😀".repeat(50_000)}a` }, { text: `${"é😀".repeat(50_000)}b` }],
  ["bytes", { data: Uint8Array.of(1, 2) }, { data: Uint8Array.of(1, 3) }],
  ["text and bytes", { data: Uint8Array.of(97) }, { data: "a" }],
  ["one of many numbers", { ids: [...Array(9_000).keys(), 1] }, { ids: [...Array(9_000).keys(), 2] }],
  ["the name", { a: "x" }, { b: "x" }],
  ["where it stands", { in: { a: "x" }, b: "y" }, { in: { a: "x", b: "y" } }],
  ["a number", { a: 0 }, { a: 1 }],
  ["whether it is set", { a: false }, { a: undefined }],
])("others differ: by %s", (_, one, other) => {
  expect(digest(one)).not.toBe(digest(other));
});

test("however deep an engine's own member is, it is read", () => {
  const extras = JSON.parse(`${"[".repeat(20_000)}${"]".repeat(20_000)}`) as object;
  expect(digest({ extras })).toHaveLength(44);
});
