import type { Client } from "@connectrpc/connect";
import type { AuthService } from "../../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import type { Clock, Timer } from "../clock.ts";

/** What the check needs, and whom it tells. */
export interface RunningKeysOptions {
  readonly auth: Pick<Client<typeof AuthService>, "findRevoked">;
  readonly clock: Clock;
  /** The keys that something runs with now. */
  running(): readonly string[];
  /** A key of them may be used no more. */
  revoked(keyId: string): void;
}

/** A check of the keys that something runs with. */
export interface RunningKeysCheck extends AsyncDisposable {
  /** Checks now, or once more after the check that is under way. */
  now(): void;
}

/** What the watch could not tell of, a fail-over of the database say, is found out within this. */
const intervalMs = 180_000;
/** After a check that failed. */
const retryMs = 5_000;
/** Keys that are asked about at once: as many as the contract allows. */
const batchMax = 1_000;

/**
 * Asks now and then which keys that something runs with were revoked. Who runs does not present the key again, so that
 * a revocation which the watch never told would not reach it.
 */
export function checkRunningKeys(options: RunningKeysOptions): RunningKeysCheck {
  const { auth, clock } = options;
  const stop = new AbortController();
  let timer: Timer = clock.setTimer(intervalMs, begin);
  let checking: Promise<void> | undefined;
  let again = false;

  async function check(): Promise<void> {
    const running = options.running();
    for (let at = 0; at < running.length; at += batchMax) {
      const asked = running.slice(at, at + batchMax);
      const { keyIds } = await auth.findRevoked({ keyIds: asked }, { signal: stop.signal });
      for (const keyId of keyIds) options.revoked(keyId);
    }
  }

  function begin(): void {
    timer.cancel();
    if (checking !== undefined || stop.signal.aborted) {
      again = true;
      return;
    }
    again = false;
    checking = check()
      .then(
        () => intervalMs,
        // Whoever needs the auth service at once tells of its absence.
        () => retryMs,
      )
      .then((waitMs) => {
        checking = undefined;
        if (!stop.signal.aborted) timer = clock.setTimer(again ? 0 : waitMs, begin);
      });
  }

  return {
    now: begin,
    async [Symbol.asyncDispose]() {
      stop.abort();
      timer.cancel();
      await checking;
    },
  };
}
