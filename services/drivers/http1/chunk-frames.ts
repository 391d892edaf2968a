import { NotHttp } from "./response-head.ts";

const CR = 13;
const LF = 10;
const SEMICOLON = 59;

/** Chunk lengths have at most this many hexadecimal digits: 4 GiB. */
const sizeDigitsMax = 8;
/** Bytes of all extensions and trailers of one body: nothing here reads them. */
const unreadBytesMax = 16_384;

type State = "size" | "extension" | "size LF" | "data" | "data CR" | "data LF" | "trailer" | "trailer LF" | "last LF";

/** Where the data of chunks goes: a part of the given bytes. */
export type OnData = (bytes: Buffer, start: number, end: number) => void;

/**
 * Takes the frames off a chunked body, whose bytes come cut anywhere.
 *
 * A chunk is its *size* in hexadecimal, an *extension* that is skipped, its *data* with a CRLF behind it. A chunk of no
 * data is followed by *trailers*, which are skipped, and an empty line, which is the end.
 */
export class ChunkFrames {
  #state: State = "size";
  /** Bytes of the chunk that are still to come; in *size*, the size so far. */
  #left = 0;
  #digits = 0;
  #unread = 0;
  /** Bytes of this line of a trailer. */
  #lineLength = 0;

  /** Begins a body. */
  begin(): void {
    this.#state = "size";
    this.#left = 0;
    this.#digits = 0;
    this.#unread = 0;
  }

  /**
   * Takes the next bytes.
   *
   * @param wanted asked after each piece of data: false stops here.
   * @returns where the body ended; -1: it has not ended.
   * @throws NotHttp
   */
  read(bytes: Buffer, start: number, end: number, onData: OnData, wanted: () => boolean): number {
    let at = start;
    while (at < end) {
      if (this.#state === "data") {
        const stop = Math.min(end, at + this.#left);
        this.#left -= stop - at;
        if (this.#left === 0) this.#state = "data CR";
        onData(bytes, at, stop);
        if (!wanted()) return -1;
        at = stop;
      } else if (this.#frame(bytes[at++] ?? 0)) return at;
    }
    return -1;
  }

  /** Takes a byte that is no data; returns whether it was the last one. */
  #frame(byte: number): boolean {
    switch (this.#state) {
      case "size":
        this.#size(byte);
        return false;
      case "extension":
        if (byte === CR) this.#state = "size LF";
        else this.#skip(byte);
        return false;
      case "size LF":
        expect(byte, LF);
        this.#digits = 0;
        this.#lineLength = 0;
        this.#state = this.#left === 0 ? "trailer" : "data";
        return false;
      case "data CR":
        expect(byte, CR);
        this.#state = "data LF";
        return false;
      case "data LF":
        expect(byte, LF);
        this.#state = "size";
        return false;
      case "trailer":
        if (byte === CR) this.#state = this.#lineLength === 0 ? "last LF" : "trailer LF";
        else {
          this.#lineLength += 1;
          this.#skip(byte);
        }
        return false;
      case "trailer LF":
        expect(byte, LF);
        this.#lineLength = 0;
        this.#state = "trailer";
        return false;
      default:
        expect(byte, LF);
        return true;
    }
  }

  #size(byte: number): void {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      this.#digits += 1;
      if (this.#digits > sizeDigitsMax) throw new NotHttp("a chunk that is too long");
      this.#left = this.#left * 16 + digit;
      return;
    }
    if (this.#digits === 0) throw new NotHttp("a chunk without a size");
    if (byte === CR) this.#state = "size LF";
    else if (byte === SEMICOLON || byte === 32 || byte === 9) this.#state = "extension";
    else throw new NotHttp("a chunk whose size is no number");
  }

  #skip(byte: number): void {
    this.#unread += 1;
    if (this.#unread > unreadBytesMax || byte === LF || byte === 0) throw new NotHttp("a line that cannot be skipped");
  }
}

function expect(byte: number, wanted: number): void {
  if (byte !== wanted) throw new NotHttp("a chunk without its end");
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
