import { weirErrorFrom } from "../errors/fail.ts";
import type { Cancel, Sink } from "./push.ts";

/**
 * Pulls messages and pushes them into a sink: one after the other, none while the sink is full, and none after `stop`.
 *
 * It waits for a message (pulling), or for room (full), or is over: by the source's end, its error, or `stop`. Only
 * `stop` leaves the source unfinished; it is then asked to return, and nobody waits for it.
 */
export function pump<T>(source: AsyncIterator<T>, sink: Sink<T>): () => void {
  let over = false;
  let turnDue = false;

  const turn = () => {
    turnDue = false;
    if (!over) sink.turn();
  };

  const pull = (): void => {
    source.next().then(took, broke);
  };

  const took = (result: IteratorResult<T>): void => {
    if (over) return;
    if (result.done) {
      over = true;
      sink.end();
      return;
    }
    sink.event(result.value);
    // Messages that arrived together come one microtask apart: they are one turn.
    if (!turnDue) {
      turnDue = true;
      setImmediate(turn);
    }
    if (over) return;
    if (!sink.full()) {
      pull();
      return;
    }
    sink.resume = () => {
      sink.resume = undefined;
      if (!over) pull();
    };
  };

  const broke = (thrown: unknown): void => {
    if (over) return;
    over = true;
    sink.fail(weirErrorFrom(thrown));
  };

  pull();
  return () => {
    if (over) return;
    over = true;
    // The consumer has gone: what the source still says, or fails with, concerns nobody.
    source.return?.().catch(() => {});
  };
}

/** A cancel that does nothing: for a call that is over before it began. */
export const nothingToCancel: Cancel = () => {};
