import { connect, type Socket } from "node:net";

/** What to ask, over a connection of its own. */
export interface RawRequestOptions {
  readonly port: number;
  readonly key: string;
  readonly path: string;
  readonly body: object;
  readonly headers?: Readonly<Record<string, string>>;
  /** Take nothing off the socket. */
  readonly paused?: boolean;
}

/** The answer to one request as its bytes came, chunks undone. */
export interface RawReply {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
  /** The body's own end came: by its length, or by the last chunk. */
  readonly whole: boolean;
}

/** One request over a raw HTTP/1.1 connection, which shows what came and when, and can leave in any way. */
export class RawRequest {
  readonly socket: Socket;
  readonly #bytes: Buffer[] = [];
  /** By `performance.now()`. */
  readonly startedMs = performance.now();
  firstByteMs: number | undefined;
  lastByteMs = this.startedMs;
  /** The server closed the connection, or reset it. */
  readonly closed: Promise<void>;
  isClosed = false;

  constructor({ port, key, path, body, headers = {}, paused = false }: RawRequestOptions) {
    const text = JSON.stringify(body);
    const head = Object.entries({
      host: "weir",
      authorization: `Bearer ${key}`,
      "content-type": "application/json",
      "content-length": String(Buffer.byteLength(text)),
      ...headers,
    });
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true }, () => {
      this.socket.write(
        `POST ${path} HTTP/1.1\r\n${head.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${text}`,
      );
    });
    // A reset is followed by the close.
    this.socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => {
      this.socket.on("close", () => {
        this.isClosed = true;
        resolve();
      });
    });
    if (paused) this.socket.pause();
    else this.socket.on("data", (chunk: Buffer) => this.#take(chunk));
  }

  #take(chunk: Buffer): void {
    this.lastByteMs = performance.now();
    this.firstByteMs ??= this.lastByteMs;
    this.#bytes.push(chunk);
  }

  /** Begins to read what a paused one left. */
  readOn(): void {
    this.socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.socket.resume();
  }

  /** What came so far; undefined while the head is not whole. */
  reply(): RawReply | undefined {
    const bytes = Buffer.concat(this.#bytes);
    const end = bytes.indexOf("\r\n\r\n");
    if (end < 0) return undefined;
    const [statusLine = "", ...lines] = bytes.toString("latin1", 0, end).split("\r\n");
    const headers = new Map(
      lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
    );
    const status = Number(statusLine.split(" ")[1]);
    const rest = bytes.subarray(end + 4);
    if (headers.get("transfer-encoding") === "chunked") return { status, headers, ...unchunked(rest) };
    const length = Number(headers.get("content-length") ?? 0);
    return { status, headers, body: rest.toString("utf8", 0, length), whole: rest.length >= length };
  }

  /** The text of the body so far. */
  get text(): string {
    return this.reply()?.body ?? "";
  }

  /** Resolves when the answer is whole or the connection is gone. */
  async done(patienceMs = 15_000): Promise<RawReply | undefined> {
    const endMs = performance.now() + patienceMs;
    while (!this.reply()?.whole && !this.isClosed) {
      if (performance.now() > endMs) throw new Error(`no end within ${patienceMs} ms: ${this.text.slice(-300)}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return this.reply();
  }

  leave(how: "close" | "reset" = "close"): void {
    if (how === "reset") this.socket.resetAndDestroy();
    else this.socket.destroy();
  }
}

function unchunked(bytes: Buffer): { readonly body: string; readonly whole: boolean } {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return { body: Buffer.concat(parts).toString("utf8"), whole: false };
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    if (size === 0) return { body: Buffer.concat(parts).toString("utf8"), whole: true };
    at = lineEnd + 2 + size + 2;
  }
}

/** What the `data:` lines of an event stream hold, and its comments. */
export interface Events {
  /** Parsed, without `[DONE]`. */
  readonly chunks: readonly StreamChunk[];
  readonly errors: readonly { readonly code: string | null; readonly message: string; readonly type: string }[];
  /** How often `[DONE]` stands there, and whether it is last. */
  readonly dones: number;
  readonly comments: number;
  /** The text of choice 0. */
  readonly text: string;
  readonly finishes: readonly string[];
  /** What was counted, where that was asked for. */
  readonly usage: StreamChunk["usage"];
}

interface StreamChunk {
  readonly error?: Events["errors"][number];
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null;
  readonly choices?: readonly {
    readonly text?: string;
    readonly delta?: { readonly content?: string | null };
    readonly finish_reason?: string | null;
  }[];
}

/** Reads the body of an event stream. */
export function eventsOf(body: string): Events {
  const lines = body.split("\n").filter((line) => line !== "");
  const payloads = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice("data: ".length));
  const all = payloads.filter((payload) => payload !== "[DONE]").map((payload): StreamChunk => JSON.parse(payload));
  const choices = all.flatMap(({ choices: found = [] }) => found);
  return {
    chunks: all,
    errors: all.flatMap(({ error }) => (error ? [error] : [])),
    dones: payloads.length - all.length,
    comments: lines.filter((line) => line.startsWith(":")).length,
    text: choices.map((choice) => choice.text ?? choice.delta?.content ?? "").join(""),
    finishes: choices.flatMap(({ finish_reason: reason }) => (reason ? [reason] : [])),
    usage: all.findLast(({ usage }) => usage)?.usage,
  };
}
