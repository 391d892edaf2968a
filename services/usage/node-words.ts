import type { Logger } from "pino";
import type { Clock, Timer } from "../runtime/clock.ts";
import type { NodeWord, RecordStore } from "./store.ts";

/** Up to when nodes have told everything, gathered and kept once in a while. */
export interface NodeWords extends AsyncDisposable {
  /** A node's batch is stored. */
  heard(word: NodeWord): void;
}

/** A sum that is complete is as good a second later, and a write a batch would be one too many. */
const flushAfterMs = 1_000;

/** Gathers words in memory: one that is lost with the process makes `complete_until` older, never wrong. */
export function createNodeWords(
  store: Pick<RecordStore, "hear">,
  { clock, log }: { readonly clock: Clock; readonly log: Pick<Logger, "warn"> },
): NodeWords {
  const pending = new Map<string, NodeWord>();
  let timer: Timer | undefined;
  let writing: Promise<void> = Promise.resolve();

  const flush = () => {
    timer = undefined;
    const words = [...pending.values()];
    pending.clear();
    if (words.length === 0) return;
    writing = store.hear(words).catch((error: unknown) => {
      log.warn({ err: error }, "could not keep what nodes said last: sums are told to be complete up to earlier times");
    });
  };

  return {
    heard(word) {
      const before = pending.get(word.nodeId);
      const completeMs = Math.max(word.completeMs, before?.completeMs ?? 0);
      pending.set(word.nodeId, { ...word, completeMs });
      timer ??= clock.setTimer(flushAfterMs, flush);
    },
    async [Symbol.asyncDispose]() {
      timer?.cancel();
      flush();
      await writing;
    },
  };
}
