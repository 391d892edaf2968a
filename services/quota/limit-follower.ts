import type { Logger } from "pino";
import { type Clock, sleep } from "../runtime/clock.ts";
import { createLimitBook, type LimitBook } from "./limit-book.ts";
import type { LimitReading, LimitStore, LimitVersion } from "./limit-store.ts";

/** What a limit is since now. */
export type LimitListener = (version: LimitVersion) => void;

/** Keeps a book of limits as the store has them. */
export interface LimitFollower extends AsyncDisposable {
  readonly book: LimitBook;
  /** Reads what changed. When it resolves the book has what was written before the call. */
  refresh(): Promise<void>;
  /** Hears of every change, when the book has it. Returns how to stop listening. */
  onChange(listener: LimitListener): () => void;
  /** For how long nothing was read, in milliseconds. */
  ageMs(): number;
}

/** A quarter of the 2 s within which a limit that another process wrote has to count. */
const intervalMs = 500;
/** Limits that are read at once. */
const pageMax = 1_000;

/**
 * Follows the store, every 500 ms from now on. While the store is away the book stays as it is, and every limit in it goes on.
 *
 * @throws STORE_UNAVAILABLE if the store cannot be read now: nobody may be served by an empty book.
 */
export async function followLimits(options: {
  readonly store: Pick<LimitStore, "changesAfter">;
  readonly clock: Clock;
  readonly log: Pick<Logger, "warn" | "info">;
}): Promise<LimitFollower> {
  const { store, clock, log } = options;
  const book = createLimitBook();
  const listeners = new Set<LimitListener>();
  const stop = new AbortController();
  let readMs = clock.monotonicMs();
  let reading: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  let failures = 0;

  const learn = (read: LimitReading, whole: boolean): void => {
    const news = book.learn(read, whole);
    for (const version of news) for (const listener of listeners) listener(version);
  };

  const read = async (): Promise<void> => {
    for (;;) {
      const after = book.revision;
      const page = await store.changesAfter(after, pageMax);
      // The store was restored from an older copy: what it has now is what counts.
      if (page.revision < after) learn(await readAll(store), true);
      else learn(cutToPage(page), false);
      if (page.changes.length < pageMax) break;
    }
    readMs = clock.monotonicMs();
  };

  const begin = (): Promise<void> => {
    reading = read().finally(() => {
      reading = undefined;
    });
    return reading;
  };

  const refresh = (): Promise<void> => {
    if (reading === undefined) return begin();
    // What runs may have read before the caller wrote.
    next ??= reading
      .catch(() => {})
      .then(() => {
        next = undefined;
        return refresh();
      });
    return next;
  };

  const run = async (): Promise<void> => {
    while (await sleep(clock, intervalMs, stop.signal)) {
      try {
        await refresh();
        if (failures > 0) log.info({ failures }, "limits are read again");
        failures = 0;
      } catch (error) {
        failures += 1;
        if (failures === 1) log.warn({ err: error }, "limits cannot be read; those that are known go on");
      }
    }
  };

  await refresh();
  const running = run();
  return {
    book,
    refresh,
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    ageMs: () => clock.monotonicMs() - readMs,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

/** A full page tells of nothing beyond its last change. */
function cutToPage({ revision, changes }: LimitReading): LimitReading {
  const last = changes.at(-1);
  return { revision: last && changes.length >= pageMax ? last.limit.revision : revision, changes };
}

/** Every limit that there is. */
async function readAll(store: Pick<LimitStore, "changesAfter">): Promise<LimitReading> {
  const live = new Map<string, LimitVersion>();
  let after = 0n;
  for (;;) {
    const page = await store.changesAfter(after, pageMax);
    for (const version of page.changes) {
      if (version.deleted) live.delete(version.limit.id);
      else live.set(version.limit.id, version);
    }
    if (page.changes.length < pageMax) return { revision: page.revision, changes: [...live.values()] };
    after = page.changes.at(-1)?.limit.revision ?? 0n;
  }
}
