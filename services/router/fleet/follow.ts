import type { WatchResponse } from "../../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import type { Cancel, Sink } from "../../runtime/mesh/push.ts";

export interface FollowOptions {
  readonly clock: Clock;
  /** Opens a watch. */
  readonly open: (sink: Sink<WatchResponse>) => Cancel;
  /** A watch was opened: its snapshot comes. */
  readonly begin: () => void;
  readonly event: (message: WatchResponse) => void;
  /** The watch broke; it is opened again. */
  readonly lost: (error: WeirError | undefined) => void;
}

/** The catalogue beats every 500 ms: after four missed ones the connection is dead, whatever TCP says. */
const silenceMs = 2_000;
/** In one process the catalogue may start a moment after the router. */
const reopenFirstMs = 50;
const reopenMostMs = 5_000;

/**
 * Keeps one watch of the catalogue open.
 *
 * - **open**: events are handed on. It ends, fails, or is silent for 2 s: `lost`, then
 * - **waiting**: 50 ms at first, twice as long after each watch that brought nothing, at most 5 s; then **open** again.
 * - **closed**: for good.
 *
 * @returns the way to close it.
 */
export function followCatalog(options: FollowOptions): () => void {
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
function openOnce({ clock, open, event, lost }: FollowOptions): () => void {
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
    const error = fail(ErrorReason.SERVICE_UNAVAILABLE, { service: "catalog" });
    cancel(error);
    finish(error);
  }
  const sink: Sink<WatchResponse> = {
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
