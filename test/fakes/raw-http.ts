import { connect, type Socket } from "node:net";

/** One answer as it came over a raw socket. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** What a raw connection brought until it ended, or until nothing more was expected. */
export interface RawExchange {
  readonly answers: readonly RawAnswer[];
  /** The server closed the connection. */
  readonly closed: boolean;
  readonly elapsedMs: number;
}

export interface RawOptions {
  /** Stop reading after this many answers; else when the connection ends. */
  readonly answers?: number;
  /** Half-close after sending. */
  readonly end?: boolean;
  /** Sent after the bytes, piece by piece, until the connection ends. */
  readonly rest?: AsyncIterable<string>;
  /** Give up after this long, in milliseconds. */
  readonly patienceMs?: number;
}

/** Sends bytes as they are and reads HTTP/1 answers. */
export function rawHttp(port: number, bytes: string | Buffer, options: RawOptions = {}): Promise<RawExchange> {
  const started = performance.now();
  return new Promise((resolve) => {
    let seen = Buffer.alloc(0);
    const socket: Socket = connect(port, "127.0.0.1", () => {
      socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
      if (options.end) socket.end();
      if (options.rest) void sendOn(socket, options.rest);
    });
    const timer = setTimeout(() => finish(false), options.patienceMs ?? 5_000);
    const finish = (closed: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ answers: parseAnswers(seen), closed, elapsedMs: performance.now() - started });
    };
    socket.on("data", (chunk) => {
      seen = Buffer.concat([seen, chunk]);
      if (options.answers !== undefined && parseAnswers(seen).length >= options.answers) finish(false);
    });
    socket.on("close", () => finish(true));
    // A reset ends the exchange as a close does.
    socket.on("error", () => finish(true));
  });
}

async function sendOn(socket: Socket, pieces: AsyncIterable<string>): Promise<void> {
  for await (const piece of pieces) {
    if (!socket.writable) return;
    socket.write(piece);
  }
}

/** Splits complete answers with a content-length off the bytes. */
function parseAnswers(bytes: Buffer): RawAnswer[] {
  const answers: RawAnswer[] = [];
  let at = 0;
  for (;;) {
    const end = bytes.indexOf("\r\n\r\n", at);
    if (end < 0) return answers;
    const [statusLine = "", ...lines] = bytes.toString("latin1", at, end).split("\r\n");
    const headers = new Map(
      lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
    );
    const length = Number(headers.get("content-length") ?? 0);
    if (bytes.length < end + 4 + length) return answers;
    answers.push({
      status: Number(statusLine.split(" ")[1]),
      headers,
      body: bytes.toString("utf8", end + 4, end + 4 + length),
    });
    at = end + 4 + length;
  }
}
