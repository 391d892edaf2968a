import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { Cancel, Sink } from "../runtime/mesh/push.ts";

/** A step of a watch. */
export interface WatchStep {
  readonly event: { readonly case: string | undefined };
}

export interface FollowOptions<S extends WatchStep> {
  readonly clock: Clock;
  /** Whose watch it is. */
  readonly service: string;
  /** Opens a watch. */
  readonly open: (sink: Sink<S>) => Cancel;
  /** A watch was opened: its snapshot comes. */
  readonly begin: () => void;
  readonly event: (message: S) => void;
  /** The watch broke; it is opened again. */
  readonly lost: (error: WeirError | undefined) => void;
}

/** Services beat every 500 ms: after four missed ones the connection is dead, whatever TCP says. */
const silenceMs = 2_000;
/** In one process a service may start a moment after the router. */
const reopenFirstMs = 50;
const reopenMostMs = 5_000;

/**
 * Keeps one watch of a service open.
 *
 * - **open**: events are handed on. It ends, fails, or is silent for 2 s: `lost`, then
 * - **waiting**: 50 ms at first, twice as long after each watch that brought nothing, at most 5 s; then **open** again.
 * - **closed**: for good.
 *
 * @returns the way to close it.
 */
export function followWatch<S extends WatchStep>(options: FollowOptions<S>): () => void {
  const { clock } = options;
  let closed = false;
  let waitMs = reopenFirstMs;
  let timer: Timer | undefined;
  let close: (() => void) | undefined;

  const reopen = () => {
    if (closed) return;
    timer = clock.setTimer(waitMs, open);
    waitMs = Math.min(reopenMostMs, waitMs * 2);
  };
  const open = () => {
    options.begin();
    close = openOnce({
      ...options,
      event(message) {
        if (message.event.case === "snapshotEnd") waitMs = reopenFirstMs;
        options.event(message);
      },
      lost(error) {
        options.lost(error);
        reopen();
      },
    });
  };
  open();
  return () => {
    closed = true;
    timer?.cancel();
    close?.();
  };
}

/** One watch, from its opening to `lost`, which comes once unless it is closed before. */
function openOnce<S extends WatchStep>({ clock, service, open, event, lost }: FollowOptions<S>): () => void {
  let done = false;
  let heardMs = clock.monotonicMs();
  let timer = clock.setTimer(silenceMs, checkSilence);

  function finish(error: WeirError | undefined): void {
    if (done) return;
    done = true;
    timer.cancel();
    lost(error);
  }
  function checkSilence(): void {
    const silentMs = clock.monotonicMs() - heardMs;
    if (silentMs < silenceMs) {
      timer = clock.setTimer(silenceMs - silentMs, checkSilence);
      return;
    }
    const error = fail(ErrorReason.SERVICE_UNAVAILABLE, { service });
    cancel(error);
    finish(error);
  }
  const sink: Sink<S> = {
    event(message) {
      if (done) return;
      heardMs = clock.monotonicMs();
      event(message);
    },
    turn() {},
    end: () => finish(undefined),
    fail: finish,
    full: () => false,
    resume: undefined,
  };
  const cancel: Cancel = open(sink);
  return () => {
    if (done) return;
    done = true;
    timer.cancel();
    cancel(fail(ErrorReason.CANCELLED));
  };
}
