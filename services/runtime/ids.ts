import { randomBytes } from "node:crypto";
import { type Clock, systemClock } from "./clock.ts";

/** Makes identifiers from a clock and a source of random bytes. */
export interface IdSource {
  /**
   * A UUIDv7 (RFC 9562) in lower-case text. Ids of one source sort in the order in which they were made,
   * also within a millisecond and when the clock steps back.
   */
  uuidv7(): string;
  /** `length` characters of [0-9a-z] without i, l, o and u: 5 bits each, safe in URLs and easy to read aloud. */
  short(length: number): string;
}

export interface IdSourceOptions {
  readonly clock: Clock;
  /** Returns `length` unpredictable bytes. */
  readonly randomBytes: (length: number) => Uint8Array;
}

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
const sequenceMax = 0xfff;
// A fresh millisecond starts in the lower half, so that at least 2,048 more ids fit before time is borrowed.
const sequenceStartMask = 0x7ff;

/** Builds an {@link IdSource}; a process needs one only. */
export function createIdSource(options: IdSourceOptions): IdSource {
  /** Where ids are put together, one after the other. */
  const bytes = Buffer.alloc(16);
  let lastMs = -1;
  let sequence = 0;

  function nextSequence(random: Buffer): void {
    const nowMs = Math.floor(options.clock.nowMs());
    if (nowMs > lastMs) {
      lastMs = nowMs;
      sequence = random.readUInt16BE(6) & sequenceStartMask;
    } else if (sequence < sequenceMax) {
      sequence += 1;
    } else {
      // The millisecond is used up: borrow the next one rather than wait or repeat.
      lastMs += 1;
      sequence = 0;
    }
  }

  return {
    uuidv7() {
      bytes.set(options.randomBytes(16));
      nextSequence(bytes);
      bytes.writeUIntBE(lastMs, 0, 6);
      bytes.writeUInt16BE(0x7000 | sequence, 6);
      bytes.writeUInt8(0x80 | (bytes.readUInt8(8) & 0x3f), 8);
      const hex = bytes.toString("hex");
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
    },
    short(length) {
      let text = "";
      for (const byte of options.randomBytes(length)) text += alphabet.charAt(byte & 31);
      return text;
    },
  };
}

/** Asking the system for random bytes costs the same for 16 as for thousands: they are fetched in advance. */
const pooledBytes = 4_096;

function createPooledRandom(): (length: number) => Uint8Array {
  let pool = Buffer.alloc(0);
  let used = 0;
  return (length) => {
    if (length > pooledBytes) return randomBytes(length);
    if (used + length > pool.length) {
      pool = randomBytes(pooledBytes);
      used = 0;
    }
    used += length;
    return pool.subarray(used - length, used);
  };
}

/** Ids from the machine's clock and its cryptographic random numbers. */
export const systemIds: IdSource = createIdSource({ clock: systemClock, randomBytes: createPooledRandom() });

/** Chance, from 0 up to but not including 1: for spreading load, never for secrets. */
export const systemChance: () => number = Math.random;
