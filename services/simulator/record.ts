import { closeSync, openSync, writeSync } from "node:fs";

/** What the simulator saw or did, in the order in which it happened. */
export interface Entry {
  /** Wall clock, in milliseconds. */
  readonly atMs: number;
  /** The id that the caller gave to the request, or one of ours. */
  readonly id: string;
  readonly event: Event;
  readonly model?: string;
  readonly promptTokens?: number;
  /** Tokens of the prompt that needed no prefill. */
  readonly cachedTokens?: number;
  /** Tokens produced so far, over all choices. */
  readonly tokens?: number;
  /** What went wrong, on purpose. */
  readonly fault?: string;
}

/**
 * `received` the request, `started` its prefill (it left the queue), `produced` the first token, `finished` by itself,
 * `cancelled` because the caller left or said stop, `failed` by a fault.
 */
export type Event = "received" | "started" | "produced" | "finished" | "cancelled" | "failed";

/** A log that tests can trust: an entry is written before anybody is told of what it says. */
export interface Recorder extends Disposable {
  add(entry: Omit<Entry, "atMs">): void;
  entries(): readonly Entry[];
}

/** In memory the newest are kept; a file keeps all. */
const keptMax = 100_000;

/** Keeps entries in memory and, with a path, one JSON line each in a file, which survives a kill of this process. */
export function createRecorder(nowMs: () => number, path?: string): Recorder {
  const kept: Entry[] = [];
  let file = path === undefined ? undefined : openSync(path, "a", 0o600);
  return {
    add(entry) {
      const stamped = { atMs: nowMs(), ...entry };
      if (file !== undefined) writeSync(file, `${JSON.stringify(stamped)}\n`);
      kept.push(stamped);
      if (kept.length > keptMax) kept.splice(0, keptMax / 2);
    },
    entries: () => [...kept],
    [Symbol.dispose]() {
      if (file !== undefined) closeSync(file);
      file = undefined;
    },
  };
}
