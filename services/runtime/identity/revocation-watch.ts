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
  /** Changes up to this revision can't be told one by one. */
  reset(revision: bigint): void;
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
  since(revision: bigint): void;
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
  /** The last revision that the watch told. */
  let told: bigint | undefined;
  /** Before that: the lowest one that an answer was read at. */
  let learned: bigint | undefined;
  let inSyncMs = Number.NEGATIVE_INFINITY;

  /** One connection, until it ends or falls silent. Returns whether it was ever in sync. */
  async function watchOnce(): Promise<boolean> {
    const connection = new AbortController();
    const giveUp = () => connection.abort();
    stop.signal.addEventListener("abort", giveUp);
    let silence = clock.setTimer(options.silentMs, giveUp);
    const from = told ?? learned;
    const request = { afterRevision: from ?? 0n };
    try {
      return await withStream(
        connection.signal,
        (signal) => options.auth.watchRevocations(request, { signal }),
        async (messages) => {
          let inSync = false;
          for await (const message of messages) {
            silence.cancel();
            silence = clock.setTimer(options.silentMs, giveUp);
            // Asked from nowhere, while a first answer came in: from that one on, changes can be told one by one.
            if (message.event.case === "reset" && from === undefined && learned !== undefined) return true;
            inSync ||= message.event.case === "snapshotEnd";
            tell(message);
            if (inSync) inSyncMs = clock.monotonicMs();
          }
          return inSync;
        },
      );
    } finally {
      silence.cancel();
      stop.signal.removeEventListener("abort", giveUp);
    }
  }

  function tell(message: WatchRevocationsResponse): void {
    const { event, revision } = message;
    if (event.case === "change") options.changed(event.value.keyId, event.value.revoked, revision);
    if (event.case === "reset") options.reset(revision);
    told = revision;
    options.heard(message);
  }

  async function run(): Promise<void> {
    let retryMs = firstRetryMs;
    let failures = 0;
    while (!stop.signal.aborted) {
      let inSync = false;
      try {
        inSync = await watchOnce();
        failures = 0;
      } catch (error) {
        failures += 1;
        if (!stop.signal.aborted) options.failed(error, failures);
      }
      retryMs = inSync ? firstRetryMs : Math.min(2 * retryMs, longestRetryMs);
      await sleep(clock, retryMs, stop.signal);
    }
  }

  const running = run();
  return {
    inSyncMs: () => inSyncMs,
    since(revision) {
      if (learned === undefined || revision < learned) learned = revision;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}
