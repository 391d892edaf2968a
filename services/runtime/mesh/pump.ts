import { weirErrorFrom } from "../errors/fail.ts";
import type { Cancel, Sink } from "./push.ts";

/** Messages of one turn: a source that never waits would otherwise keep the event loop from everybody else. */
const messagesPerTurnMax = 64;

/**
 * Pulls messages and pushes them into a sink: one after the other, none while the sink is full, and none after `stop`.
 *
 * It waits for a message (pulling), for room (full) or for the next turn of the event loop (it has had its share), or is
 * over: by the source's end, its error, or `stop`. Only `stop` leaves the source unfinished; it is then asked to return,
 * and nobody waits for it.
 */
export function pump<T>(source: AsyncIterator<T>, sink: Sink<T>): () => void {
  let over = false;
  /** Since the last turn; above 0, a turn is due. */
  let messages = 0;

  const pull = (): void => {
    source.next().then(took, broke);
  };

  const turn = (): void => {
    const share = messages;
    messages = 0;
    if (over) return;
    sink.turn();
    if (share >= messagesPerTurnMax) pullWhenRoom();
  };

  const pullWhenRoom = (): void => {
    if (over) return;
    if (!sink.full()) {
      pull();
      return;
    }
    const resume = (): void => {
      sink.resume = undefined;
      if (!over) pull();
    };
    sink.resume = resume;
  };

  const took = (result: IteratorResult<T>): void => {
    if (over) return;
    if (result.done) {
      over = true;
      sink.end();
      return;
    }
    // Messages that arrived together come one microtask apart: they are one turn.
    if (messages === 0) setImmediate(turn);
    messages += 1;
    sink.event(result.value);
    if (messages < messagesPerTurnMax) pullWhenRoom();
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
