import { status as grpcStatus } from "@grpc/grpc-js";
import { HeldBytes } from "../held-bytes.ts";
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
  readonly #held = new HeldBytes();
  /** How long that frame is; while its length has not come, how long its prefix is. */
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
    let at = this.#held.length === 0 ? 0 : this.#complete(chunk, take);
    while (chunk.length - at >= prefixBytes) {
      const end = at + prefixBytes + this.#lengthAt(chunk, at);
      if (end > chunk.length) return this.#hold(chunk, at, end - at);
      take(chunk.subarray(at + prefixBytes, end));
      at = end;
    }
    if (at < chunk.length) this.#hold(chunk, at, prefixBytes);
  }

  /** Adds to the frame that is held what the chunk has of it, and tells it if it is whole. Returns where the next begins. */
  #complete(chunk: Buffer, take: (message: Buffer) => void): number {
    const held = this.#held;
    for (let at = 0; ; ) {
      const end = Math.min(chunk.length, at + this.#wantedBytes - held.length);
      held.add(chunk, at, end, this.#wantedBytes);
      at = end;
      if (held.length < this.#wantedBytes) return at;
      if (held.length === prefixBytes) this.#wantedBytes += this.#lengthAt(held.bytes, 0);
      if (held.length < this.#wantedBytes) continue;
      take(held.take().subarray(prefixBytes));
      return at;
    }
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

  #hold(chunk: Buffer, start: number, wantedBytes: number): void {
    this.#held.add(chunk, start, chunk.length, wantedBytes);
    this.#wantedBytes = wantedBytes;
  }
}
