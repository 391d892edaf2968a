import { describe, expect, test } from "vitest";
import { heldAfter } from "../fakes/held-memory.ts";
import { EventTooLong, SseParser } from "../../services/drivers/http/sse.ts";

function read(chunks: readonly Buffer[], bytesMax = 1_000): { events: string[]; junk: boolean } {
  const events: string[] = [];
  const parser = new SseParser((data, type) => events.push(type === "" ? data : `${type}:${data}`), bytesMax);
  for (const chunk of chunks) parser.push(chunk);
  parser.end();
  return { events, junk: parser.junk };
}

/** The bytes whole, one by one, and cut in two at every place. */
function cuts(text: string): Buffer[][] {
  const bytes = Buffer.from(text);
  const pairs = Array.from(bytes, (_, at) => [bytes.subarray(0, at), bytes.subarray(at)]);
  return [[bytes], Array.from(bytes, (byte) => Buffer.of(byte)), ...pairs];
}

describe("an event stream, cut anywhere", () => {
  test.each<[string, string, string[]]>([
    ["ends lines with LF", "data: a\n\ndata: b\n\n", ["a", "b"]],
    ["ends lines with CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]],
    ["ends lines with CR", "data: a\r\rdata: b\r\r", ["a", "b"]],
    ["mixes line ends", "data: a\r\n\ndata: b\n\r\n", ["a", "b"]],
    ["has no empty line at its end", "data: a\n\ndata: b\n", ["a", "b"]],
    ["has no line end at its end", "data: a\n\ndata: b", ["a", "b"]],
    ["has comments", ": ping\n\n:\n: x\ndata: a\n: y\n\n", ["a"]],
    ["has data over several lines", "data: a\ndata: b\n\n", ["a\nb"]],
    ["has empty lines of data", "data:\ndata: é\ndata:\ndata:\n\ndata: a\n\n", ["\né\n\n", "a"]],
    ["has data over several lines with CRLF", "data: a\r\ndata: b\r\n\r\n", ["a\nb"]],
    ["has no space after the colon", "data:a\n\ndata:  b\n\n", ["a", " b"]],
    ["has characters of several bytes", "data: é漢🌊\n\n", ["é漢🌊"]],
    ["names its events", "event: error\ndata: {}\n\ndata: a\n\n", ["error:{}", "a"]],
    ["has llama.cpp's old error field", 'error: {"code":500}\n\n', ['error:{"code":500}']],
    ["has ids and retries", "id: 1\nretry: 5\ndata: a\n\n", ["a"]],
    ["has an event without data", "event: ping\n\ndata: a\n\n", ["a"]],
    ["has empty lines in plenty", "\n\n\ndata: a\n\n\n\n", ["a"]],
    ["is empty", "", []],
  ])("which %s", (_, text, expected) => {
    for (const chunks of cuts(text)) {
      const { events, junk } = read(chunks);
      expect(events, JSON.stringify(chunks.map(String))).toEqual(expected);
      expect(junk).toBe(false);
    }
  });

  test.each(["<html>\n<body>502</body>\n", "oops", "dat: x\n\n"])("that is %j is junk", (text) => {
    for (const chunks of cuts(text)) expect(read(chunks)).toEqual({ events: [], junk: true });
  });
});

describe("what an event stream may hold", () => {
  test.each([
    ["a line that never ends", ["data: ", ..."x".repeat(2_000)]],
    ["an event of many lines", Array.from({ length: 200 }, () => "data: 0123456789\n")],
    ["an event of lines without anything", Array.from({ length: 1_002 }, () => "data:\n")],
    ["a comment that never ends", [":", ..."x".repeat(2_000)]],
  ])("not %s", (_, pieces) => {
    expect(() => read(pieces.map((piece) => Buffer.from(piece)))).toThrow(EventTooLong);
  });

  test.each([
    ["a line", "x"],
    ["an event of many lines", "data: x\n"],
  ])("%s in small pieces, of which each costs little more than its bytes", (_, piece) => {
    const parser = new SseParser(() => undefined, 33_554_432);
    parser.push(Buffer.from("data: x\ndata: "));
    const bytes = Buffer.from(piece);
    expect(heldAfter(() => parser.push(bytes), 500_000)).toBeLessThan(500_000 * 8);
    parser.end();
  });

  test("any number of events below the limit", () => {
    const { events } = read(Array.from({ length: 500 }, () => Buffer.from("data: 0123456789\n\n")));
    expect(events).toHaveLength(500);
  });
});
