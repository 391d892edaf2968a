import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../errors/fail.ts";
import type { Cancel, Sink } from "./push.ts";

/** A producer that is asked to pause and goes on is cut at this many times what the consumer wants to hold. */
const pendingFactorMax = 128;

type Waiter<T> = {
  readonly resolve: (result: IteratorResult<T>) => void;
  readonly reject: (error: WeirError) => void;
};

/**
 * A pushed stream for a consumer who pulls. Messages wait in a bounded buffer; the producer is asked to pause when
 * `pendingMax` wait, and to go on when all were taken.
 *
 * It is open until `end`, `fail` or the consumer's own leaving (`return`, `throw`, {@link PulledStream.abort}). After
 * `end` and `fail` what waits is still handed out; after leaving, nothing is, and the producer is cancelled at once.
 */
export interface PulledStream<T> extends AsyncIterableIterator<T> {
  /** Resolves when the first message, the end or an error has come. */
  readonly begun: Promise<void>;
  /** Ends it from outside: whoever waits, or pulls next, gets the error. */
  abort(error: WeirError): void;
}

/** Starts a push call at once, and lets its messages be pulled. */
export function pullFromPush<T>(start: (sink: Sink<T>) => Cancel, pendingMax: number): PulledStream<T> {
  const pending: T[] = [];
  let waiter: Waiter<T> | undefined;
  let outcome: "open" | "ended" | WeirError = "open";
  let cancel: Cancel | undefined;
  let begin: () => void = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });

  const settle = (to: "ended" | WeirError): void => {
    outcome = to;
    begin();
    if (waiter === undefined) return;
    const { resolve, reject } = waiter;
    waiter = undefined;
    if (to === "ended") resolve({ done: true, value: undefined });
    else {
      outcome = "ended";
      reject(to);
    }
  };

  const leave = (to: "ended" | WeirError, reason: WeirError): void => {
    if (outcome === "open") {
      cancel?.(reason);
      pending.length = 0;
      settle(to);
    } else if (to === "ended") {
      pending.length = 0;
      outcome = "ended";
    }
  };

  const sink: Sink<T> = {
    event(message) {
      if (outcome !== "open") return;
      if (waiter !== undefined) {
        const { resolve } = waiter;
        waiter = undefined;
        resolve({ done: false, value: message });
        begin();
        return;
      }
      pending.push(message);
      begin();
      if (pending.length > pendingMax * pendingFactorMax) {
        const error = fail(ErrorReason.SLOW_READER);
        leave(error, error);
      }
    },
    turn() {},
    end() {
      if (outcome === "open") settle("ended");
    },
    fail(error) {
      if (outcome === "open") settle(error);
    },
    full: () => pending.length >= pendingMax,
    resume: undefined,
  };

  const next = (): Promise<IteratorResult<T>> => {
    const message = pending.shift();
    if (message !== undefined) {
      if (pending.length === 0) sink.resume?.();
      return Promise.resolve({ done: false, value: message });
    }
    if (outcome === "ended") return Promise.resolve({ done: true, value: undefined });
    if (outcome !== "open") {
      const error = outcome;
      outcome = "ended";
      return Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      waiter = { resolve, reject };
    });
  };

  const started = start(sink);
  // It may have been cut while it started: by a producer that pushed more at once than anyone wants to hold.
  if (outcome === "open") cancel = started;
  else started(fail(ErrorReason.CANCELLED));

  return {
    begun,
    next,
    return() {
      leave("ended", fail(ErrorReason.CANCELLED));
      return Promise.resolve({ done: true, value: undefined });
    },
    async throw(thrown: unknown) {
      leave("ended", fail(ErrorReason.CANCELLED));
      throw thrown;
    },
    abort: (error) => leave(error, error),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
