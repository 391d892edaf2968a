import { describe, expect, test } from "vitest";
import { AnswerReader } from "../bench/answer-reader.ts";
import { answer, firstEvent, frameEvent, lastEvents } from "../bench/mock-answer.ts";

const chunk = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
const chunked = (...texts: string[]) =>
  `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n${texts.map(chunk).join("")}0\r\n\r\n`;

const rows: readonly (readonly [name: string, bytes: string, status: number, frames: number])[] = [
  ["a length", `HTTP/1.1 200 OK\r\nContent-Length: ${answer.length}\r\n\r\n${answer}`, 200, 0],
  ["nothing", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", 204, 0],
  ["chunks", chunked(answer.slice(0, 7), answer.slice(7)), 200, 0],
  ["a stream", chunked(firstEvent, frameEvent, frameEvent, frameEvent, lastEvents(3)), 200, 3],
  ["events in one chunk", chunked(`${firstEvent}${frameEvent.repeat(40)}`, lastEvents(40)), 200, 40],
  ["an event in chunks of a byte", chunked(...`${firstEvent}${frameEvent}${frameEvent}`), 200, 2],
];

/** Every way to receive it in two pieces, and byte by byte. */
function piecesOf(bytes: Buffer): readonly (readonly Buffer[])[] {
  const inTwo = Array.from({ length: bytes.length - 1 }, (_, at) => [
    bytes.subarray(0, at + 1),
    bytes.subarray(at + 1),
  ]);
  return [[bytes], ...inTwo, Array.from(bytes, (byte) => Buffer.from([byte]))];
}

describe("the reader of the load's answers", () => {
  test.each(rows)("reads %s, however it comes, and again after it", (_name, text, status, frames) => {
    const reader = new AnswerReader();
    for (const pieces of piecesOf(Buffer.from(text))) {
      reader.reset();
      let found = 0;
      const wholeAfter = pieces.map((piece) => {
        found += reader.take(piece);
        return reader.whole;
      });
      expect({ status: reader.status, found }).toEqual({ status, found: frames });
      expect(wholeAfter).toEqual([...pieces.slice(1).map(() => false), true]);
    }
  });

  test("refuses an answer whose end nobody could know", () => {
    expect(() => new AnswerReader().take(Buffer.from("HTTP/1.1 200 OK\r\n\r\nso"))).toThrow("no length");
  });
});
