import { expect, test } from "vitest";
import { parsePostmasterFile } from "../../../services/runtime/postgres/postmaster-file.ts";

const lines = ["4711", "/data/cluster", "1700000000", "5432", "/data/run", "", "  3670120         7"];

test.each([
  ["ready", [...lines, "ready   ", ""], { pid: 4711, ready: true }],
  ["starting", [...lines, "starting"], { pid: 4711, ready: false }],
  ["stopping", [...lines, "stopping"], { pid: 4711, ready: false }],
  ["just created", ["4711"], { pid: 4711, ready: false }],
  ["empty", [""], undefined],
  ["of a stand-alone backend, negative", ["-4711"], undefined],
  ["no number", ["abc"], undefined],
])("a file that is %s", (_name, text, expected) => {
  expect(parsePostmasterFile(text.join("\n"))).toEqual(expected);
});
