import { hash } from "node:crypto";
import type { Client } from "@connectrpc/connect";
import type { Logger } from "pino";
import type { AuthService } from "../../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock } from "../clock.ts";
import { fail, type WeirError } from "../errors/fail.ts";
import { createBadCredentials } from "./bad-credentials.ts";
import { judge } from "./conditions.ts";
import { keyIdFrom, keyLength } from "./key-format.ts";
import type { KeyName } from "./key-lookup.ts";
import { createKeyring } from "./keyring.ts";
import type { Known, Refused } from "./principal-cache.ts";
import type { RevokedListener } from "./revoked-keys.ts";

/** Who is calling, for every door of the process. */
export interface Identity {
  /**
   * The principal of a credential, or why there is none: a refusal is a value. It answers at once for a key that is
   * cached, and asks the auth service otherwise. The key's start and end are judged at every call. The principal is
   * frozen and shared.
   *
   * @param credential the key as the caller sent it.
   * @param callerAddress whose budget of unknown keys it draws on.
   * @returns as errors CREDENTIAL_INVALID, KEY_REVOKED, KEY_EXPIRED, KEY_NOT_YET_VALID, TOO_MANY_BAD_CREDENTIALS,
   * AUTH_UNAVAILABLE. It never rejects.
   */
  authenticate(credential: string, callerAddress: string): Principal | WeirError | Promise<Principal | WeirError>;
  /**
   * Calls the listener once if the key is revoked while something runs with it, also if that was just before.
   *
   * @returns how to stop listening; call it when what runs has ended.
   */
  onRevoked(keyId: string, listener: RevokedListener): () => void;
}

export interface IdentityOptions {
  readonly auth: Client<typeof AuthService>;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long a known key works while it cannot be checked again, in milliseconds. */
  readonly staleMaxMs: number;
  /** Credentials that are none of ours which one address may present in a minute. */
  readonly badKeysPerMinuteMax: number;
}

/** For a caller whose key cannot be checked: long enough for a short failure to pass. */
const retryAfterMs = 1_000;

/** Builds the process's identity and starts its revocation watch. */
export function createIdentity(options: IdentityOptions): Identity & AsyncDisposable {
  const { clock, staleMaxMs } = options;
  const keyring = createKeyring(options);
  const bad = createBadCredentials(options.badKeysPerMinuteMax);

  function tooMany(waitMs: number): WeirError {
    const facts = { retry_after_ms: String(waitMs) };
    return fail(ErrorReason.TOO_MANY_BAD_CREDENTIALS, facts, { retryAfterMs: waitMs });
  }

  /** A credential that is none of ours: it costs the address, and nobody is asked. */
  function refuseBad(address: string): WeirError {
    const nowMs = clock.monotonicMs();
    const waitMs = bad.waitMs(address, nowMs);
    if (waitMs > 0) return tooMany(waitMs);
    bad.spend(address, nowMs);
    return fail(ErrorReason.CREDENTIAL_INVALID);
  }

  function refuse({ reason, keyId }: Refused, address: string): WeirError {
    return reason === ErrorReason.KEY_REVOKED ? fail(reason, { key_id: keyId }) : refuseBad(address);
  }

  /** A key that was looked up in vain costs its address in any case: tries at once would be free but for the first. */
  function refuseFound(refused: Refused, address: string): WeirError {
    if (refused.reason === ErrorReason.KEY_REVOKED) return refuse(refused, address);
    bad.spend(address, clock.monotonicMs());
    return fail(ErrorReason.CREDENTIAL_INVALID);
  }

  function judged({ principal, validity }: Known): Principal | WeirError {
    return judge(principal, validity, keyring.storeNowMs());
  }

  function unavailable(cause: unknown): WeirError {
    return fail(ErrorReason.AUTH_UNAVAILABLE, { retry_after_ms: String(retryAfterMs) }, { cause, retryAfterMs });
  }

  /** A key that was good when it could last be checked. */
  function degraded(known: Known, cause: unknown): Principal | WeirError {
    return keyring.uncheckedMs(known) <= staleMaxMs ? judged(known) : unavailable(cause);
  }

  async function lookUp(name: KeyName, key: string, address: string): Promise<Principal | WeirError> {
    const found = await keyring.lookUp(name, key);
    if (found.kind === "known") return judged(found.known);
    if (found.kind === "refused") return refuseFound(found.refused, address);
    // Read now: the watch may have told of the key while the question was on its way.
    const known = keyring.known(name.digest);
    if (known) return degraded(known, found.cause);
    const refused = keyring.refused(name.digest);
    if (refused) return refuse(refused, address);
    // Anybody who has seen the ids of such keys can have them looked up.
    if (found.kind === "unchecked") bad.spend(address, clock.monotonicMs());
    return unavailable(found.cause);
  }

  return {
    authenticate(credential, callerAddress) {
      // Nothing of another length is a key, however long it is: it is not worth hashing.
      if (credential.length !== keyLength) return refuseBad(callerAddress);
      const digest = hash("sha256", credential, "binary");
      const known = keyring.known(digest);
      if (known) {
        if (keyring.isCurrent(known)) {
          keyring.refresh(known, digest, credential);
          return judged(known);
        }
        if (keyring.isAway() || keyring.isUnchecked(digest)) return degraded(known, undefined);
        return lookUp({ digest, keyId: known.principal.keyId }, credential, callerAddress);
      }
      const keyId = keyIdFrom(credential);
      if (keyId === undefined) return refuseBad(callerAddress);
      const refused = keyring.refused(digest);
      if (refused) return refuse(refused, callerAddress);
      if (keyring.isUnchecked(digest)) return unavailable(undefined);
      const waitMs = bad.waitMs(callerAddress, clock.monotonicMs());
      return waitMs > 0 ? tooMany(waitMs) : lookUp({ digest, keyId }, credential, callerAddress);
    },
    onRevoked: (keyId, listener) => keyring.onRevoked(keyId, listener),
    [Symbol.asyncDispose]: () => keyring[Symbol.asyncDispose](),
  };
}
