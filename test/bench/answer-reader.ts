/** What a frame of a stream is known by. No line break is in it. */
const marker = Buffer.from('"content":" river"');
const headEnd = Buffer.from("\r\n\r\n");
const [lineFeed, carriageReturn] = [10, 13];

/**
 * Reads one HTTP/1.1 answer after the other off a connection, and counts the frames in their bodies. It looks at as
 * little as it can: what reads the load's answers has to be far cheaper than what is measured.
 *
 * `head` until its empty line; then `body`, of which `left` bytes remain. A chunked body goes on to `after chunk` (its
 * line end), `size` and the next `body`, until a size of 0, after which `last` is the empty line that ends it all.
 */
export class AnswerReader {
  status = 0;
  /** The answer is complete; the next one needs {@link reset}. */
  whole = false;
  #state: "head" | "body" | "after chunk" | "size" | "last" = "head";
  #head: Buffer | undefined;
  #chunked = false;
  #left = 0;
  /** The end of a piece that may hold the beginning of a marker. */
  #tail: Buffer | undefined;

  reset(): void {
    this.whole = false;
    this.#state = "head";
    this.#tail = undefined;
  }

  /** Takes what came, which is not kept, and returns how many frames it completed. */
  take(bytes: Buffer): number {
    let frames = 0;
    let at = 0;
    while (at < bytes.length && !this.whole) {
      if (this.#state === "body") {
        const end = Math.min(bytes.length, at + this.#left);
        frames += this.#framesIn(bytes.subarray(at, end));
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#bodyRead();
      } else if (this.#state === "head") {
        at = this.#readHead(bytes, at);
      } else {
        this.#readFraming(bytes[at++] ?? 0);
      }
    }
    return frames;
  }

  #bodyRead(): void {
    if (this.#chunked) this.#state = "after chunk";
    else this.whole = true;
  }

  #readHead(bytes: Buffer, at: number): number {
    const before = this.#head?.length ?? 0;
    const all = this.#head ? Buffer.concat([this.#head, bytes]) : bytes;
    const end = all.indexOf(headEnd, before > 0 ? 0 : at);
    if (end < 0) {
      this.#head = Buffer.from(before > 0 ? all : bytes.subarray(at));
      return bytes.length;
    }
    this.#head = undefined;
    const head = all.toString("latin1", before > 0 ? 0 : at, end);
    this.status = Number(head.slice(9, 12));
    const length = /\ncontent-length: *(\d+)/i.exec(head)?.[1];
    this.#chunked = length === undefined;
    if (this.#chunked && !/\ntransfer-encoding: *chunked/i.test(head)) throw new Error(`no length: ${head}`);
    this.#left = Number(length ?? 0);
    this.#state = this.#chunked ? "size" : "body";
    this.whole = length === "0";
    return end + headEnd.length - before;
  }

  #readFraming(byte: number): void {
    if (byte === carriageReturn) return;
    if (byte !== lineFeed) {
      if (this.#state === "size") this.#left = this.#left * 16 + Number.parseInt(String.fromCharCode(byte), 16);
      return;
    }
    if (this.#state === "last") this.whole = true;
    else if (this.#state === "after chunk") this.#state = "size";
    else this.#state = this.#left === 0 ? "last" : "body";
  }

  #framesIn(piece: Buffer): number {
    let frames = 0;
    if (this.#tail) {
      const seam = Buffer.concat([this.#tail, piece.subarray(0, marker.length - 1)]);
      if (seam.includes(marker)) frames++;
      else if (piece.length < marker.length - 1 && piece.at(-1) !== lineFeed) {
        this.#tail = seam.subarray(-(marker.length - 1));
        return 0;
      }
      this.#tail = undefined;
    }
    for (let at = piece.indexOf(marker); at >= 0; at = piece.indexOf(marker, at + marker.length)) frames++;
    // Events end with a line break, so hardly any piece ends within a marker.
    if (piece.at(-1) !== lineFeed) this.#tail = Buffer.from(piece.subarray(-(marker.length - 1)));
    return frames;
  }
}
