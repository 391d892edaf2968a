import { connect, type Socket } from "node:net";
import { AnswerReader } from "./answer-reader.ts";

/** Whom to ask for chats. */
export interface LoadTarget {
  readonly url: string;
  /** Such as the caller's key. */
  readonly headers: Readonly<Record<string, string>>;
  readonly model: string;
  readonly stream: boolean;
}

/** When a load ends: after so many requests, or when no more are begun after so many milliseconds. */
export type LoadSize = ({ readonly requests: number } | { readonly forMs: number }) & {
  /** Requests in a second, spread evenly over the connections. Undefined: as fast as they are answered. */
  readonly perS?: number;
};

/** What a load brought. Times are in milliseconds. */
export interface LoadResult {
  readonly requests: number;
  /** Without an answer, or with another status than 200. */
  readonly failed: number;
  readonly elapsedMs: number;
  readonly latencies: readonly number[];
  /** Of streams: from the request to the first frame, and from a frame to the next. */
  readonly firstFrames: readonly number[];
  readonly gaps: readonly number[];
  readonly frames: number;
}

/** The header of a key. */
export function bearer(key: string): Readonly<Record<string, string>> {
  return { authorization: `Bearer ${key}` };
}

/** Sends chats of 0.3 kB, `concurrency` at a time, each over its own kept connection. */
export async function load(target: LoadTarget, concurrency: number, size: LoadSize): Promise<LoadResult> {
  const tally = { requests: 0, failed: 0, frames: 0, latencies: [], firstFrames: [], gaps: [] };
  const bytes = requestOf(target);
  const lanes = await Promise.all(Array.from({ length: concurrency }, () => Lane.open(target.url, bytes, tally)));
  const beganMs = performance.now();
  let left = "requests" in size ? size.requests : Number.POSITIVE_INFINITY;
  const endMs = "forMs" in size ? beganMs + size.forMs : Number.POSITIVE_INFINITY;
  const everyMs = size.perS === undefined ? 0 : (concurrency / size.perS) * 1_000;
  const more = () => left-- > 0 && performance.now() < endMs;
  await Promise.all(
    lanes.map((lane, at) => lane.run(more, { everyMs, firstMs: beganMs + (everyMs * at) / concurrency })),
  );
  return { ...tally, elapsedMs: performance.now() - beganMs };
}

/** Head and body in one piece: written in two, they can meet a delayed acknowledgement and wait 40 ms. */
function requestOf({ url, headers, model, stream }: LoadTarget): Buffer {
  const messages = [{ role: "user", content: "Tell me how a weir measures a river. ".repeat(6) }];
  const body = JSON.stringify({ model, messages, ...(stream ? { stream: true } : {}) });
  const head = {
    host: new URL(url).host,
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(body)),
    ...headers,
  };
  const lines = Object.entries(head).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`POST /v1/chat/completions HTTP/1.1\r\n${lines.join("")}\r\n${body}`);
}

/** When a lane begins its requests: at these times, or as soon as the one before is answered, if that is later. */
interface Schedule {
  readonly everyMs: number;
  readonly firstMs: number;
}

interface Tally {
  requests: number;
  failed: number;
  frames: number;
  readonly latencies: number[];
  readonly firstFrames: number[];
  readonly gaps: number[];
}

/** All lanes read into it, one after the other: what is read is looked at before anything else is. */
const buffer = Buffer.alloc(65_536);

/** A connection with one request at a time on it. */
class Lane {
  readonly #bytes: Buffer;
  readonly #tally: Tally;
  readonly #answer = new AnswerReader();
  readonly #socket: Socket;
  #more: () => boolean = () => false;
  #ended: () => void = () => undefined;
  #everyMs = 0;
  #dueMs = 0;
  #beganMs = 0;
  #lastFrameMs = 0;

  private constructor(url: string, bytes: Buffer, tally: Tally, opened: (error?: Error) => void) {
    this.#bytes = bytes;
    this.#tally = tally;
    const onread = { buffer, callback: (length: number) => this.#take(buffer.subarray(0, length)) };
    const { hostname, port } = new URL(url);
    this.#socket = connect({ host: hostname, port: Number(port), noDelay: true, onread }, () => opened());
    // Once it is open, an error is followed by the close.
    this.#socket.on("error", opened);
    this.#socket.on("close", () => {
      if (this.#beganMs > 0) tally.failed++;
      this.#ended();
    });
  }

  static open(url: string, bytes: Buffer, tally: Tally): Promise<Lane> {
    return new Promise((settle, reject) => {
      const lane = new Lane(url, bytes, tally, (error) => (error ? reject(error) : settle(lane)));
    });
  }

  /** One request after the other while there are more; resolves when the connection is closed. */
  run(more: () => boolean, { everyMs, firstMs }: Schedule): Promise<void> {
    this.#more = more;
    this.#everyMs = everyMs;
    this.#dueMs = firstMs;
    return new Promise((settle) => {
      this.#ended = settle;
      this.#next();
    });
  }

  #next(): void {
    // Whoever waits has no request on its way.
    this.#beganMs = 0;
    const earlyMs = this.#everyMs === 0 ? 0 : this.#dueMs - performance.now();
    this.#dueMs += this.#everyMs;
    // Timers go by whole milliseconds.
    if (earlyMs >= 0.5) setTimeout(() => this.#begin(), earlyMs);
    else this.#begin();
  }

  #begin(): void {
    if (!this.#more()) {
      this.#socket.destroy();
      return;
    }
    this.#answer.reset();
    this.#lastFrameMs = 0;
    this.#tally.requests++;
    this.#beganMs = performance.now();
    this.#socket.write(this.#bytes);
  }

  #take(piece: Buffer): boolean {
    const nowMs = performance.now();
    const frames = this.#answer.take(piece);
    if (frames > 0) this.#timeFrames(nowMs, frames);
    if (this.#answer.whole) {
      if (this.#answer.status !== 200) this.#tally.failed++;
      this.#tally.latencies.push(nowMs - this.#beganMs);
      this.#next();
    }
    return true;
  }

  /** Frames that came together have no time between them. */
  #timeFrames(nowMs: number, frames: number): void {
    const { gaps, firstFrames } = this.#tally;
    if (this.#lastFrameMs === 0) firstFrames.push(nowMs - this.#beganMs);
    else gaps.push(nowMs - this.#lastFrameMs);
    for (let more = 1; more < frames; more++) gaps.push(0);
    this.#lastFrameMs = nowMs;
    this.#tally.frames += frames;
  }
}
