import type { Client } from "@connectrpc/connect";
import type { AuthService, WatchRevocationsResponse } from "../../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import { type Clock, sleep } from "../clock.ts";
import { withStream } from "../mesh/with-stream.ts";

/** What a watch needs, and whom it tells. */
export interface RevocationWatchOptions {
  readonly auth: Pick<Client<typeof AuthService>, "watchRevocations">;
  readonly clock: Clock;
  /** A connection that says nothing for this long is given up for a new one, in milliseconds. */
  readonly silentMs: number;
  /** A key changed at a revision. */
  changed(keyId: string, revoked: boolean, revision: bigint): void;
  /** Changes up to this revision can't be told one by one: revisions count within this epoch from now on. */
  reset(revision: bigint, epoch: string): void;
  /** Any message, with the store's time. */
  heard(message: WatchRevocationsResponse): void;
  /** A connection ended in an error, for the nth time in a row. */
  failed(error: unknown, times: number): void;
}

/** A running watch of the auth service's revocations. */
export interface RevocationWatch extends AsyncDisposable {
  /**
   * When it was last certain that every revocation had been told, on the monotonic clock; -Infinity before the first
   * time.
   */
  inSyncMs(): number;
  /** Says from which revision on changes matter. It counts until the watch has a revision of its own. */
  since(revision: bigint, epoch: string): void;
}

/** A place in the store's history. */
interface Place {
  readonly revision: bigint;
  readonly epoch: string;
}

const firstRetryMs = 100;
/** Short, because a revocation has to arrive within 2 s of the way being open again. */
const longestRetryMs = 1_000;

/**
 * Keeps one stream open for as long as the process lives. It continues from the last revision that it saw, so that
 * nothing is missed in between; without one the stream begins with a reset.
 */
export function watchRevocations(options: RevocationWatchOptions): RevocationWatch {
  const { clock } = options;
  const stop = new AbortController();
  /** Where the watch told of last. */
  let told: Place | undefined;
  /** Before that: the lowest revision that an answer was read at, and the epoch of the first. */
  let learned: Place | undefined;
  let inSyncMs = Number.NEGATIVE_INFINITY;

  /** One connection, until it ends or falls silent. It notes down whether it was ever in sync. */
  async function watchOnce(sync: { reached: boolean }): Promise<void> {
    const connection = new AbortController();
    const giveUp = () => connection.abort();
    stop.signal.addEventListener("abort", giveUp);
    let silence = clock.setTimer(options.silentMs, giveUp);
    const from = told ?? learned;
    const request = { afterRevision: from?.revision ?? 0n, epoch: from?.epoch ?? "" };
    try {
      await withStream(
        connection.signal,
        (signal) => options.auth.watchRevocations(request, { signal }),
        async (messages) => {
          for await (const message of messages) {
            silence.cancel();
            silence = clock.setTimer(options.silentMs, giveUp);
            // Asked from nowhere, while a first answer came in: from that one on, changes can be told one by one.
            if (message.event.case === "reset" && from === undefined && learned !== undefined) {
              sync.reached = true;
              return;
            }
            sync.reached ||= message.event.case === "snapshotEnd";
            tell(message);
            if (sync.reached) inSyncMs = clock.monotonicMs();
          }
        },
      );
    } finally {
      silence.cancel();
      stop.signal.removeEventListener("abort", giveUp);
    }
  }

  function tell(message: WatchRevocationsResponse): void {
    const { event, revision, epoch } = message;
    if (event.case === "change") options.changed(event.value.keyId, event.value.revoked, revision);
    if (event.case === "reset") options.reset(revision, epoch);
    told = { revision, epoch };
    options.heard(message);
  }

  async function run(): Promise<void> {
    let retryMs = firstRetryMs;
    let failures = 0;
    while (!stop.signal.aborted) {
      const sync = { reached: false };
      try {
        await watchOnce(sync);
        failures = 0;
      } catch (error) {
        // One that was in sync ends a row of failures, however it ended itself.
        failures = sync.reached ? 1 : failures + 1;
        if (!stop.signal.aborted) options.failed(error, failures);
      }
      retryMs = sync.reached ? firstRetryMs : Math.min(2 * retryMs, longestRetryMs);
      await sleep(clock, retryMs, stop.signal);
    }
  }

  const running = run();
  return {
    inSyncMs: () => inSyncMs,
    since(revision, epoch) {
      if (learned === undefined) learned = { revision, epoch };
      else if (revision < learned.revision) learned = { revision, epoch: learned.epoch };
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}
