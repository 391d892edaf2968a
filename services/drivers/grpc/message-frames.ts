import { status as grpcStatus } from "@grpc/grpc-js";
import { StatusError } from "./status-error.ts";

/** A flag of compression, and the length in 32 bits. */
const prefixBytes = 5;

/** A message as gRPC frames it. */
export function framed(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(prefixBytes + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, prefixBytes);
  return frame;
}

/** Takes messages out of their frames, whose bytes come cut anywhere. */
export class MessageFrames {
  readonly #bytesMax: number;
  /** What came of a frame that is not whole. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** How long that frame is, as far as it is known. */
  #wantedBytes = prefixBytes;

  /** `bytesMax`: the longest message. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /**
   * Takes the next bytes. A message is told while `take` is called, and is part of what came.
   * @throws StatusError for what is no frame, and for a message that is too long.
   */
  push(chunk: Buffer, take: (message: Buffer) => void): void {
    let bytes = chunk;
    if (this.#heldBytes > 0) {
      this.#held.push(chunk);
      this.#heldBytes += chunk.length;
      if (this.#heldBytes < this.#wantedBytes) return;
      bytes = Buffer.concat(this.#held, this.#heldBytes);
      this.#held = [];
      this.#heldBytes = 0;
    }
    let at = 0;
    while (bytes.length - at >= prefixBytes) {
      const end = at + prefixBytes + this.#lengthAt(bytes, at);
      if (end > bytes.length) return this.#hold(bytes.subarray(at), end - at);
      take(bytes.subarray(at + prefixBytes, end));
      at = end;
    }
    if (at < bytes.length) this.#hold(bytes.subarray(at), prefixBytes);
  }

  #lengthAt(bytes: Buffer, at: number): number {
    if (bytes[at] !== 0) throw new StatusError(grpcStatus.INTERNAL, "Invalid frame: a compressed message");
    const length = bytes.readUInt32BE(at + 1);
    if (length <= this.#bytesMax) return length;
    throw new StatusError(
      grpcStatus.RESOURCE_EXHAUSTED,
      `Received message larger than max (${length} > ${this.#bytesMax})`,
    );
  }

  #hold(bytes: Buffer, wantedBytes: number): void {
    this.#held.push(bytes);
    this.#heldBytes = bytes.length;
    this.#wantedBytes = wantedBytes;
  }
}
