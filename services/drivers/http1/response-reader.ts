import { ChunkFrames, type OnData } from "./chunk-frames.ts";
import { NotHttp, readHead, type ResponseHead } from "./response-head.ts";

/** Who hears a response. */
export interface ResponseReceiver {
  /** The head, once; those of informational responses are skipped. */
  onHead(head: ResponseHead): void;
  /** A piece of the body. The bytes are lent: what is kept of them must be copied. */
  onData(bytes: Buffer, start: number, end: number): void;
}

/** Bytes of one head. */
const headBytesMax = 16_384;
/** Informational responses before the real one. */
const interimMax = 16;

const headEnd = Buffer.from("\r\n\r\n");
const beginning = Buffer.from("HTTP/1.");

/**
 * Reads one response after the other from bytes that come cut anywhere.
 *
 * It waits for a *head*, which is read when it is whole; then for the *body*: a number of bytes, chunks, or all that
 * comes until the connection ends. Then it is *done* until it begins anew. The receiver may stop it from within.
 */
export class ResponseReader {
  readonly #keepMsMax: number;
  readonly #frames = new ChunkFrames();
  #receiver: ResponseReceiver | undefined;
  #state: "head" | "length" | "chunks" | "rest" | "done" = "done";
  #head: ResponseHead | undefined;
  /** The beginning of a head whose end is still to come. */
  #held: Buffer | undefined;
  #interim = 0;
  /** Bytes of the body that are still to come. */
  #left = 0;
  readonly #onData: OnData = (bytes, start, end) => this.#receiver?.onData(bytes, start, end);
  readonly #wanted = (): boolean => this.#receiver !== undefined;

  /** `keepMsMax`: how long a connection is kept where the server does not say. */
  constructor(keepMsMax: number) {
    this.#keepMsMax = keepMsMax;
  }

  begin(receiver: ResponseReceiver): void {
    this.#receiver = receiver;
    this.#state = "head";
    this.#head = undefined;
    this.#held = undefined;
    this.#interim = 0;
  }

  /** Nothing more is told. */
  stop(): void {
    this.#receiver = undefined;
    this.#state = "done";
  }

  /** Whether the response is whole. */
  get done(): boolean {
    return this.#state === "done";
  }

  /** Whether its length was not told ahead. */
  get chunked(): boolean {
    return this.#head?.chunked ?? false;
  }

  /** How long the connection may be kept after this response; 0: it may not. */
  get keepMs(): number {
    return this.#head?.keepMs ?? 0;
  }

  /**
   * Takes the next bytes.
   *
   * @returns where the response ended, if it is done; else `end`.
   * @throws NotHttp
   */
  read(bytes: Buffer, start: number, end: number): number {
    let at = start;
    // A head may be followed by another one, or by its body, in the same bytes.
    while (at < end && this.#state === "head") at = this.#readHead(bytes, at, end);
    if (this.#state === "done" || at === end) return at;
    if (this.#state === "chunks") {
      const stop = this.#frames.read(bytes, at, end, this.#onData, this.#wanted);
      if (stop < 0) return end;
      this.#state = "done";
      return stop;
    }
    const stop = this.#state === "length" ? Math.min(end, at + this.#left) : end;
    if (this.#state === "length") {
      this.#left -= stop - at;
      if (this.#left === 0) this.#state = "done";
    }
    this.#receiver?.onData(bytes, at, stop);
    return stop;
  }

  /** The connection ended; returns whether the response may end so. */
  end(): boolean {
    if (this.#state !== "rest") return false;
    this.#state = "done";
    return true;
  }

  #readHead(bytes: Buffer, start: number, end: number): number {
    if (this.#held !== undefined) {
      const held = this.#held;
      this.#held = undefined;
      const all = Buffer.concat([held, bytes.subarray(start, end)]);
      return Math.min(end, start + this.#readHead(all, 0, all.length) - held.length);
    }
    const stop = bytes.indexOf(headEnd, start);
    if (stop < 0 || stop + headEnd.length > end) {
      this.#hold(bytes, start, end);
      return end;
    }
    if (stop - start > headBytesMax) throw new NotHttp("a head that is too long");
    const head = readHead(bytes.toString("latin1", start, stop + 2), this.#keepMsMax);
    if (head.status < 200) this.#skipInterim(head.status);
    else this.#beginBody(head);
    return stop + headEnd.length;
  }

  #hold(bytes: Buffer, start: number, end: number): void {
    if (end - start > headBytesMax) throw new NotHttp("a head that is too long");
    const known = Math.min(beginning.length, end - start);
    if (beginning.compare(bytes, start, start + known, 0, known) !== 0) throw new NotHttp("no response of HTTP/1");
    this.#held = Buffer.from(bytes.subarray(start, end));
  }

  #skipInterim(status: number): void {
    this.#interim += 1;
    if (status === 101 || this.#interim > interimMax) throw new NotHttp("a response that was not asked for");
  }

  #beginBody(head: ResponseHead): void {
    this.#head = head;
    if (head.chunked) {
      this.#frames.begin();
      this.#state = "chunks";
    } else if (head.length === undefined) this.#state = "rest";
    else {
      this.#left = head.length;
      this.#state = head.length === 0 ? "done" : "length";
    }
    this.#receiver?.onHead(head);
  }
}
