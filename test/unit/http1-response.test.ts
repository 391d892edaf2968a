import { describe, expect, test } from "vitest";
import { NotHttp, type ResponseHead } from "../../services/drivers/http1/response-head.ts";
import { ResponseReader } from "../../services/drivers/http1/response-reader.ts";

/** What a reader told of a response, whose bytes came in the given pieces. */
function readPieces(pieces: readonly Buffer[], ends = false) {
  const reader = new ResponseReader(4_000);
  let head: ResponseHead | undefined;
  let body = "";
  reader.begin({
    onHead: (given) => (head = given),
    onData: (bytes, start, end) => (body += bytes.toString("latin1", start, end)),
  });
  let surplus = 0;
  // A reader's buffer is used again: what is behind the bytes is of an earlier read.
  const lent = Buffer.alloc(70_000, "\r\n\r\n");
  for (const piece of pieces) {
    if (reader.done) surplus += piece.length;
    else {
      piece.copy(lent);
      surplus += piece.length - reader.read(lent, 0, piece.length);
    }
    lent.fill("\r\n\r\n");
  }
  const done = ends && !reader.done ? reader.end() : reader.done;
  return { status: head?.status, body, done, surplus, keepMs: reader.keepMs };
}

/** The same for the bytes at once, byte by byte, and cut at each place. */
function readAnyhow(text: string, ends = false) {
  const whole = Buffer.from(text, "latin1");
  const read = readPieces([whole], ends);
  expect(
    readPieces(
      Array.from(whole, (byte) => Buffer.from([byte])),
      ends,
    ),
  ).toEqual(read);
  for (let cut = 1; cut < whole.length; cut++) {
    expect(readPieces([whole.subarray(0, cut), whole.subarray(cut)], ends)).toEqual(read);
  }
  return read;
}

const chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

describe("a response is read however its bytes are cut", () => {
  test.each<[string, string, object]>([
    [
      "with a length",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
      { status: 200, body: "hello", keepMs: 4_000 },
    ],
    ["with no reason and an empty field", "HTTP/1.1 200\r\nx:\r\ncontent-length:5 \r\n\r\nhello", { body: "hello" }],
    ["with nothing in it", "HTTP/1.1 500 Oh no\r\ncontent-length: 0\r\n\r\n", { status: 500, body: "" }],
    [
      "in chunks",
      `${chunked}5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n`,
      { body: "hello0123456789", keepMs: 4_000 },
    ],
    ["in chunks with trailers", `${chunked}1\r\nx\r\n000\r\na: b\r\nc: d\r\n\r\n`, { body: "x" }],
    [
      "after informational ones",
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\na: b\r\n\r\n${chunked}0\r\n\r\n`,
      { body: "" },
    ],
    [
      "without content by its status",
      "HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n",
      { status: 204, body: "" },
    ],
    [
      "of a connection that closes",
      "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx",
      { keepMs: 0 },
    ],
    ["of an older version", "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", { keepMs: 0 }],
    [
      "of an older one that keeps",
      "HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 1\r\n\r\nx",
      { keepMs: 4_000 },
    ],
    [
      "that is kept for less",
      "HTTP/1.1 200 OK\r\nkeep-alive: timeout=3\r\ncontent-length: 1\r\n\r\nx",
      { keepMs: 2_000 },
    ],
    ["that is not kept", "HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 1\r\n\r\nx", { keepMs: 0 }],
  ])("%s", (_, text, expected) => {
    expect(readAnyhow(text)).toMatchObject({ ...expected, done: true, surplus: 0 });
  });

  test("to the connection's end, where it says nothing else", () => {
    const text = "HTTP/1.1 200 OK\r\n\r\nall that comes";
    expect(readAnyhow(text, true)).toMatchObject({ body: "all that comes", done: true, keepMs: 0 });
    expect(readAnyhow(text)).toMatchObject({ done: false });
  });

  test.each([
    ["a length", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell"],
    ["chunks", `${chunked}5\r\nhello\r\n`],
    ["a last chunk", `${chunked}5\r\nhello\r\n0\r\n`],
    ["a head", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n"],
  ])("and is not whole before the end of %s", (_, text) => {
    expect(readAnyhow(text, true)).toMatchObject({ done: false });
  });

  test("and what follows it is told", () => {
    expect(readPieces([Buffer.from(`${chunked}0\r\n\r\nHTTP/1.1 200 OK\r\n`)])).toMatchObject({
      done: true,
      surplus: 17,
    });
    expect(readPieces([Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxy")])).toMatchObject({ surplus: 1 });
  });
});

describe("what two readers could read in two ways is refused", () => {
  const ok = "HTTP/1.1 200 OK\r\n";
  test.each([
    ["another protocol", "220 mail.example ESMTP\r\n\r\n"],
    ["another protocol's first bytes", "SSH-2.0"],
    ["HTTP/2", "HTTP/2 200 OK\r\n\r\n"],
    ["a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"],
    ["a status of no class", "HTTP/1.1 777 OK\r\n\r\n"],
    ["a bare line feed", "HTTP/1.1 200 OK\ncontent-length: 1\r\n\r\nx"],
    ["a field that goes on", `${ok}a: b\r\n c\r\n\r\n`],
    ["a space before the colon", `${ok}content-length : 1\r\n\r\nx`],
    ["a field without a colon", `${ok}content-length\r\n\r\n`],
    ["a zero byte", `${ok}a: \0\r\n\r\n`],
    ["two lengths", `${ok}content-length: 1\r\ncontent-length: 1\r\n\r\nx`],
    ["a list of lengths", `${ok}content-length: 1, 1\r\n\r\nx`],
    ["a length with a sign", `${ok}content-length: +1\r\n\r\nx`],
    ["a length beside chunks", `${ok}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    ["an encoding nobody asked for", `${ok}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    ["an upgrade nobody asked for", "HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n"],
    ["informational responses for ever", "HTTP/1.1 102 Processing\r\n\r\n".repeat(17)],
    ["a head beyond the limit", `${ok}a: ${"x".repeat(17_000)}\r\n\r\n`],
    ["a head beyond the limit without its end", `${ok}a: ${"x".repeat(17_000)}`],
    ["a chunk without a size", `${chunked}\r\nhello\r\n`],
    ["a size that is no number", `${chunked}5x\r\nhello\r\n`],
    ["a size with a sign", `${chunked}-5\r\nhello\r\n`],
    ["a size beyond 4 GiB", `${chunked}123456789\r\n`],
    ["a chunk longer than its size", `${chunked}5\r\nhello!\r\n`],
    ["a size that ends with a line feed", `${chunked}5\nhello\r\n`],
    ["an extension beyond the limit", `${chunked}5;${"x".repeat(17_000)}\r\n`],
    ["trailers beyond the limit", `${chunked}0\r\n${"a: b\r\n".repeat(6_000)}`],
  ])("%s", (_, text) => {
    const bytes = Buffer.from(text, "latin1");
    expect(() => readPieces([bytes])).toThrow(NotHttp);
    const pieces = Array.from({ length: Math.ceil(bytes.length / 7) }, (_one, i) => bytes.subarray(i * 7, i * 7 + 7));
    expect(() => readPieces(pieces)).toThrow(NotHttp);
  });
});

test("a receiver that stops the reader hears nothing more", () => {
  const reader = new ResponseReader(4_000);
  let pieces = 0;
  reader.begin({
    onHead: () => undefined,
    onData() {
      pieces += 1;
      reader.stop();
    },
  });
  const bytes = Buffer.from(`${chunked}1\r\na\r\n1\r\nb\r\n0\r\n\r\n`);
  reader.read(bytes, 0, bytes.length);
  expect([pieces, reader.done]).toEqual([1, true]);
});
