import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import type { Logger } from "pino";
import type {
  AuthenticateResponse,
  AuthService,
  Refusal,
  Unchecked,
} from "../../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock } from "../clock.ts";
import { validityFrom } from "./conditions.ts";
import { createKeyLookup, type Found, type KeyName } from "./key-lookup.ts";
import { createPrincipalCache, type Epoch, type Known, type Refused } from "./principal-cache.ts";
import { watchRevocations } from "./revocation-watch.ts";
import { createRevokedKeys, type RevokedListener } from "./revoked-keys.ts";
import { checkRunningKeys } from "./running-keys.ts";
import { createStoreClock } from "./store-clock.ts";

/*
 * A key in the ring is in one of these states.
 * unknown: nothing is kept. A look-up makes it known or refused.
 * known, current: the revocation watch is in sync, or the key was checked within the last 2 s. It is used as it is.
 * known, stale: the watch has been silent for 2 s, or the store's epoch has changed since the key was checked. The next
 *   use looks the key up again; while that is not possible the key goes on, for a time that its user bounds by
 *   `uncheckedMs`.
 * refused: unknown to the auth service, for as long as that said; or revoked.
 * A key that the auth service cannot check stays what it is, and is not asked about for as long as that said.
 * A change that the watch tells makes a known key unknown, or refused if it was revoked. An answer that was read before
 * the change never brings it back. A new epoch makes every known key stale and forgets every refusal.
 * What the watch has missed for ever is found out as well: a known key that is used is looked up again every few minutes,
 * and keys that something runs with are asked about: every few minutes, when the epoch changes, and after an outage.
 */

/** What this process knows of keys, kept true by the revocation watch. Digests are SHA-256 of the whole key. */
export interface Keyring extends AsyncDisposable {
  known(digest: string): Known | undefined;
  refused(digest: string): Refused | undefined;
  /** Whether a known key may be used without asking. */
  isCurrent(known: Known): boolean;
  /** How long ago it was last certain that the key is good, in milliseconds. */
  uncheckedMs(known: Known): number;
  /** Whether the auth service has just failed to answer, so that asking again would only keep callers waiting. */
  isAway(): boolean;
  /** Whether the auth service has just said that it cannot check the key. */
  isUnchecked(digest: string): boolean;
  /** Asks the auth service. It never rejects. */
  lookUp(name: KeyName, key: string): Promise<Found>;
  /** Asks about a known key, if that was last done minutes ago. Nobody waits for it: the key is used as it is. */
  refresh(known: Known, digest: string, key: string): void;
  /** Now, by the store's clock. */
  storeNowMs(): number;
  onRevoked(keyId: string, listener: RevokedListener): () => void;
}

/** Four missed heartbeats. */
const silentMs = 2_000;
/** Somebody waits and there is nothing else to go by: as long as the contract allows. */
const firstLookUpMs = 2_000;
/** There is a principal to go on with, and a caller who should not feel the failure. */
const recheckMs = 300;
/** After a failure, stale keys go on this long before one of them asks again. */
const awayMs = 1_000;
/** A known key that is used is looked up again after this long and up to twice as long, so that not all are at once. */
const refreshMs = 120_000;
/** One that was not used in the meantime is looked up first. */
const refreshedMaxMs = 360_000;
/** Such look-ups at once: those that somebody waits for need the way more. */
const refreshingMax = 16;
/** A revoked key stays revoked; the bound only lets the entry go. */
const revokedTtlMs = 3_600_000;

export function createKeyring(options: {
  readonly auth: Client<typeof AuthService>;
  readonly clock: Clock;
  readonly log: Logger;
}): Keyring {
  const { clock, log } = options;
  const cache = createPrincipalCache();
  const revoked = createRevokedKeys();
  const store = createStoreClock(clock);
  let epoch: Epoch = { endMs: undefined };
  let awayUntilMs = Number.NEGATIVE_INFINITY;
  let refreshing = 0;

  function keepKnown({ digest }: KeyName, principal: Principal): Found {
    const validity = validityFrom(principal);
    const checkedMs = clock.monotonicMs();
    // A digest's bytes are as good as chance.
    const refreshFromMs = checkedMs + refreshMs * (1 + digest.charCodeAt(0) / 256);
    const known: Known = { principal: frozen(principal), validity, checkedMs, epoch, refreshFromMs };
    cache.setKnown(digest, known);
    return { kind: "known", known };
  }

  function keepRefused({ digest, keyId }: KeyName, reason: Refused["reason"], ttlMs: number): Found {
    const refused: Refused = { reason, keyId, untilMs: clock.monotonicMs() + ttlMs };
    cache.setRefused(digest, refused);
    return { kind: "refused", refused };
  }

  /** However it came out, what runs with the key is cut. */
  function keepRevoked(name: KeyName): Found {
    const found = keepRefused(name, ErrorReason.KEY_REVOKED, revokedTtlMs);
    revoked.revoke(name.keyId);
    return found;
  }

  function dropRevoked(keyId: string): void {
    for (const digest of cache.drop(keyId)) keepRevoked({ digest, keyId });
    revoked.revoke(keyId);
  }

  function keepRefusal(name: KeyName, refusal: Refusal): Found {
    if (refusal.reason === ErrorReason.KEY_REVOKED) return keepRevoked(name);
    const ttlMs = refusal.refusalTtl ? durationMs(refusal.refusalTtl) : 0;
    return keepRefused(name, ErrorReason.CREDENTIAL_INVALID, ttlMs);
  }

  function keepUnchecked({ digest }: KeyName, { retryAfter }: Unchecked): Found {
    cache.setUnchecked(digest, clock.monotonicMs() + (retryAfter ? durationMs(retryAfter) : 0));
    return { kind: "unchecked", cause: new Error("the auth service has not read the pepper of the key") };
  }

  function keep(name: KeyName, { outcome }: AuthenticateResponse): Found {
    if (outcome.case === "principal") return keepKnown(name, outcome.value);
    if (outcome.case === "refusal") return keepRefusal(name, outcome.value);
    if (outcome.case === "unchecked") return keepUnchecked(name, outcome.value);
    return { kind: "unavailable", away: true, cause: new Error("the auth service answered without an outcome") };
  }

  const lookup = createKeyLookup({
    auth: options.auth,
    keep,
    clock,
    answered(answer, sentMs) {
      store.observe(answer.storeTime, sentMs);
      watch.since(answer.revision, answer.epoch);
    },
  });

  const watch = watchRevocations({
    auth: options.auth,
    clock,
    silentMs,
    failed(error, times) {
      // Once an outage, and not for the moment in which the service starts or moves.
      if (times === 3) log.warn({ err: error }, "the revocation watch is broken; known keys are checked one by one");
    },
    changed(keyId, isRevoked, revision) {
      lookup.changed(revision, keyId);
      if (isRevoked) dropRevoked(keyId);
      else cache.drop(keyId);
    },
    reset(revision, storeEpoch) {
      lookup.reset(revision, storeEpoch);
      epoch.endMs = watch.inSyncMs();
      epoch = { endMs: undefined };
      cache.clearRefused();
      revoked.forget();
      // The store has just answered: no key of the former epoch goes on unasked.
      awayUntilMs = Math.min(awayUntilMs, clock.monotonicMs());
      runningKeys.now();
    },
    heard({ event, storeTime }) {
      store.observe(storeTime, clock.monotonicMs());
      // Something may have begun meanwhile with a key of a former epoch, of which the watch tells nothing.
      if (event.case === "snapshotEnd") runningKeys.now();
    },
  });

  const runningKeys = checkRunningKeys({
    auth: options.auth,
    clock,
    running: () => revoked.listened(),
    revoked: dropRevoked,
  });

  function reportAway(found: Found): void {
    const wasAway = awayUntilMs !== Number.NEGATIVE_INFINITY;
    if (found.kind === "unavailable") {
      if (!found.away) return;
      awayUntilMs = clock.monotonicMs() + awayMs;
      if (!wasAway) log.error({ err: found.cause }, "keys cannot be checked; known ones go on for a time");
    } else {
      awayUntilMs = Number.NEGATIVE_INFINITY;
      if (wasAway) log.info("keys can be checked again");
    }
  }

  return {
    known: (digest) => cache.known(digest),
    refused: (digest) => cache.refused(digest, clock.monotonicMs()),
    isCurrent(known) {
      if (known.epoch.endMs !== undefined || clock.monotonicMs() - known.checkedMs > refreshedMaxMs) return false;
      return this.uncheckedMs(known) <= silentMs;
    },
    uncheckedMs: (known) => clock.monotonicMs() - Math.max(known.epoch.endMs ?? watch.inSyncMs(), known.checkedMs),
    isAway: () => clock.monotonicMs() < awayUntilMs,
    isUnchecked: (digest) => cache.isUnchecked(digest, clock.monotonicMs()),
    async lookUp(name, key) {
      const found = await lookup.ask(name, key, cache.known(name.digest) ? recheckMs : firstLookUpMs);
      reportAway(found);
      return found;
    },
    refresh({ principal: { keyId }, refreshFromMs }, digest, key) {
      if (clock.monotonicMs() < refreshFromMs || refreshing >= refreshingMax) return;
      if (this.isAway() || this.isUnchecked(digest)) return;
      refreshing += 1;
      void lookup.ask({ digest, keyId }, key, firstLookUpMs).then((found) => {
        refreshing -= 1;
        reportAway(found);
      });
    },
    storeNowMs: () => store.nowMs(),
    onRevoked: (keyId, listener) => revoked.listen(keyId, listener),
    async [Symbol.asyncDispose]() {
      await watch[Symbol.asyncDispose]();
      await runningKeys[Symbol.asyncDispose]();
    },
  };
}

/** The principal, so that no handler can change what others are judged by. */
function frozen(principal: Principal): Principal {
  Object.freeze(principal.permissions);
  if (principal.models) {
    Object.freeze(principal.models.names);
    Object.freeze(principal.models);
  }
  return Object.freeze(principal);
}
