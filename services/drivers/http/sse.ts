import { HeldBytes } from "../held-bytes.ts";

const LF = 10;
const CR = 13;
const COLON = 58;
const SPACE = 32;

const lineEnd = Buffer.of(LF);

/** An event stream that is longer than what is borne. */
export class EventTooLong extends Error {}

/** Where events go: their data, and their type, which is empty for ordinary ones. */
export type OnEvent = (data: string, type: string) => void;

/**
 * Reads server-sent events from bytes as they come, cut anywhere.
 *
 * A line ends with LF, CRLF or CR; an event with an empty line, or with the stream. Comments are skipped. The field
 * `error`, which older llama.cpp servers use in place of `data`, is an event of type "error". A line that has no field
 * of an event is junk: see {@link junk}.
 */
export class SseParser {
  readonly #onEvent: OnEvent;
  readonly #bytesMax: number;
  /** The beginning of a line whose end is still to come. */
  readonly #partial = new HeldBytes();
  /** The first line of an event's data, which is nearly always all of it. */
  #data: string | undefined;
  /** All of them, where there are more. */
  readonly #lines = new HeldBytes();
  #type = "";
  /** The last chunk ended with CR: a LF at the beginning of the next one belongs to it. */
  #afterCr = false;
  /** Whether there were lines that belong to no event stream: a page of HTML, say. */
  junk = false;

  /** `bytesMax` is the longest line, and the longest event. */
  constructor(onEvent: OnEvent, bytesMax: number) {
    this.#onEvent = onEvent;
    this.#bytesMax = bytesMax;
  }

  /** The next bytes. Throws {@link EventTooLong}. */
  push(chunk: Buffer, from = 0, to = chunk.length): void {
    let start = from;
    if (this.#afterCr && start < to) {
      this.#afterCr = false;
      if (chunk[start] === LF) start += 1;
    }
    // JSON escapes CR: a stream has none unless it ends its lines with it.
    let cr = indexOf(chunk, CR, start, to);
    while (start < to) {
      const lf = indexOf(chunk, LF, start, to);
      const end = Math.min(cr, lf);
      if (end === to) break;
      this.#line(chunk, start, end);
      start = end + 1;
      if (end !== cr) continue;
      if (start === to) this.#afterCr = true;
      else if (chunk[start] === LF) start += 1;
      cr = indexOf(chunk, CR, start, to);
    }
    if (start < to) this.#keep(chunk, start, to);
  }

  /** The stream has ended: what it holds is the last event. */
  end(): void {
    if (this.#partial.length > 0) this.#line(Buffer.alloc(0), 0, 0);
    this.#dispatch();
  }

  #keep(chunk: Buffer, start: number, end: number): void {
    if (this.#partial.length + end - start > this.#bytesMax) throw new EventTooLong();
    this.#partial.add(chunk, start, end);
  }

  #line(chunk: Buffer, start: number, end: number): void {
    if (this.#partial.length === 0) return this.#field(chunk, start, end);
    this.#partial.add(chunk, start, end);
    const line = this.#partial.take();
    this.#field(line, 0, line.length);
  }

  #field(bytes: Buffer, start: number, end: number): void {
    if (start === end) return this.#dispatch();
    if (bytes[start] === COLON) return;
    // "data:" is nearly every line.
    if (bytes[start] === 100 && bytes[start + 2] === 116 && bytes[start + 4] === COLON) {
      return this.#addData(bytes, valueStart(bytes, start + 5, end), end);
    }
    const colon = bytes.indexOf(COLON, start);
    const name =
      colon < 0 || colon >= end ? bytes.toString("latin1", start, end) : bytes.toString("latin1", start, colon);
    if (name === "event") this.#type = bytes.toString("utf8", valueStart(bytes, colon + 1, end), end);
    else if (name === "error") {
      this.#type = "error";
      this.#addData(bytes, valueStart(bytes, colon + 1, end), end);
    } else if (name !== "id" && name !== "retry" && name !== "data") this.junk = true;
  }

  #addData(bytes: Buffer, start: number, end: number): void {
    if (this.#data === undefined) {
      if (end - start > this.#bytesMax) throw new EventTooLong();
      this.#data = bytes.toString("utf8", start, end);
      return;
    }
    const lines = this.#lines;
    if (lines.length === 0) {
      const first = Buffer.from(this.#data);
      lines.add(first, 0, first.length);
    }
    if (lines.length + lineEnd.length + end - start > this.#bytesMax) throw new EventTooLong();
    lines.add(lineEnd, 0, lineEnd.length);
    lines.add(bytes, start, end);
  }

  #dispatch(): void {
    const data = this.#lines.length > 0 ? this.#lines.take().toString("utf8") : this.#data;
    const type = this.#type;
    this.#data = undefined;
    this.#type = "";
    if (data !== undefined) this.#onEvent(data, type);
  }
}

/** Where the byte first stands; `to` if it does not. */
function indexOf(chunk: Buffer, byte: number, from: number, to: number): number {
  const at = chunk.indexOf(byte, from);
  return at < 0 || at > to ? to : at;
}

function valueStart(bytes: Buffer, at: number, end: number): number {
  return at < end && bytes[at] === SPACE ? at + 1 : at;
}
