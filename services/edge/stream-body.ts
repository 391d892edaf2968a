import type { HttpWriter } from "./exchange.ts";

/**
 * The body of an answer whose head is out and whose length nobody knows. On HTTP/1.1 it cuts the chunks itself: Node
 * hands the system four pieces a chunk, and one costs the whole gateway a tenth less a frame.
 */
export class StreamBody {
  readonly #response: HttpWriter;
  /** False over HTTP/2, and to HTTP/1.0, which has no chunks: the end of the connection ends the body. */
  readonly #chunked: boolean;

  constructor(response: HttpWriter) {
    this.#response = response;
    this.#chunked = response.chunkedEncoding === true;
    if (this.#chunked) response.chunkedEncoding = false;
  }

  /** @returns false when the reader is behind. The text is not empty: an empty chunk is the last. */
  write(text: string): boolean {
    return this.#response.write(this.#chunked ? chunk(text) : text);
  }

  end(): void {
    if (this.#chunked) this.#response.end(lastChunk);
    else this.#response.end();
  }
}

const lastChunk = "0\r\n\r\n";

function chunk(text: string): string {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}
