import { writeUint32 } from "./format.ts";

/** What a running request has received so far. Counts are tokens, times milliseconds since it was admitted. */
export interface Progress {
  readonly handle: number;
  /** Which word on the request this is: see UsageRecord. */
  readonly sequence: number;
  readonly completionTokens: number;
  readonly reasoningTokens: number;
  readonly elapsedMs: number;
  /** Undefined: nothing has come. */
  readonly firstTokenMs: number | undefined;
  /** Some of the tokens were estimated from bytes. */
  readonly estimated: boolean;
}

/** Handle, sequence, tokens, thought ones, time, time to the first (4 each), and one byte of flags. */
export const progressBytes = 25;

const neverMs = 0xffffffff;
const wordMax = 0xfffffffe;

/** Writes one, always of the same length. Returns where it ends. */
export function writeProgress(buffer: Buffer, at: number, progress: Progress): number {
  writeUint32(buffer, at, progress.handle);
  writeUint32(buffer, at + 4, progress.sequence);
  writeUint32(buffer, at + 8, Math.min(progress.completionTokens, wordMax));
  writeUint32(buffer, at + 12, Math.min(progress.reasoningTokens, wordMax));
  writeUint32(buffer, at + 16, Math.min(progress.elapsedMs, wordMax));
  writeUint32(
    buffer,
    at + 20,
    progress.firstTokenMs === undefined ? neverMs : Math.min(progress.firstTokenMs, wordMax),
  );
  buffer[at + 24] = progress.estimated ? 1 : 0;
  return at + progressBytes;
}

/** Reads one; undefined if it has another length. */
export function readProgress(payload: Buffer): Progress | undefined {
  if (payload.length !== progressBytes) return undefined;
  const firstTokenMs = payload.readUInt32LE(20);
  return {
    handle: payload.readUInt32LE(0),
    sequence: payload.readUInt32LE(4),
    completionTokens: payload.readUInt32LE(8),
    reasoningTokens: payload.readUInt32LE(12),
    elapsedMs: payload.readUInt32LE(16),
    firstTokenMs: firstTokenMs === neverMs ? undefined : firstTokenMs,
    estimated: payload[24] === 1,
  };
}
