import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type {
  AuthenticateResponseSchema,
  AuthService,
  WatchRevocationsResponseSchema,
} from "../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Logger } from "pino";
import { type Clock, sleep } from "../runtime/clock.ts";
import { keyIdFrom } from "../runtime/identity/key-format.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import { principalFromStored } from "./key-message.ts";
import type { Peppers } from "./pepper.ts";
import { notFound } from "./scope.ts";
import type { CredentialStore, KeyProof } from "./store.ts";

/** Half of it is how late a revocation is on average; a watcher calls four missed beats silence. */
const pollMs = 500;
/** Changes that are read at once. */
const changesMax = 1_000;
/** An unknown key may be made good only by being created, and its id is random: this is for the store's sake. */
const unknownTtlMs = 5_000;
/** For the caller of a process whose pepper file is behind: another process may answer. */
const retryAfterMs = 1_000;
/** A revoked key stays so. */
const revokedTtlMs = 3_600_000;

type Outcome = NonNullable<MessageInitShape<typeof AuthenticateResponseSchema>["outcome"]>;
type WatchMessage = MessageInitShape<typeof WatchRevocationsResponseSchema>;

/** Checks keys, tells which changed, and whose a project or a key is. */
export function authService(options: {
  readonly store: CredentialStore;
  readonly peppers: Peppers;
  readonly clock: Clock;
  readonly log: Pick<Logger, "error">;
}): ServiceImplementation<typeof AuthService> {
  const { store, clock, peppers } = options;
  const missing = new Set<number>();

  /** The key may well be good: another process made it, with a pepper that this one has not read. */
  function unchecked({ pepperVersion }: KeyProof): Outcome {
    if (!missing.has(pepperVersion)) {
      missing.add(pepperVersion);
      options.log.error(
        { pepper_version: pepperVersion },
        "keys are hashed with a pepper that this process does not have; give it the pepper file that the others have, and restart it",
      );
    }
    return { case: "unchecked", value: { retryAfter: durationFromMs(retryAfterMs) } };
  }

  return {
    async authenticate({ key }) {
      const keyId = keyIdFrom(key);
      // It can be told from its form, so no revision and no time of the store stand behind it.
      if (keyId === undefined) return { outcome: refusal(ErrorReason.CREDENTIAL_INVALID, "", unknownTtlMs) };
      const read = await store.find(keyId);
      const foreign = read.found !== undefined && !peppers.knows(read.found.proof);
      return {
        outcome: foreign ? unchecked(read.found.proof) : outcomeOf(read.found, key, keyId, peppers),
        revision: read.revision,
        epoch: read.epoch,
        storeTime: timestampFromMs(read.nowMs),
      };
    },

    async resolveProject({ projectId }) {
      const orgId = await store.orgOf(projectId);
      if (orgId === undefined) throw notFound("project", projectId);
      return { orgId };
    },

    async resolveOrg({ orgId }) {
      if (!(await store.hasOrg(orgId))) throw notFound("organization", orgId);
      return {};
    },

    async resolveKey({ keyId }) {
      const { found } = await store.find(keyId);
      if (found === undefined) throw notFound("key", keyId);
      return { orgId: found.key.orgId, projectId: found.key.projectId };
    },

    async findRevoked({ keyIds }) {
      return { keyIds: [...(await store.revokedOf(keyIds))] };
    },

    async *watchRevocations({ afterRevision, epoch }, { signal }) {
      const watch = { after: afterRevision, epoch, inSync: false };
      while (!signal.aborted) {
        const read = await store.changesAfter(watch.after, changesMax);
        yield* messagesOf(watch, read);
        // A full page: there may be more.
        if (read.changes.length < changesMax) await sleep(clock, pollMs, signal);
      }
    },
  };
}

function outcomeOf(
  found: Awaited<ReturnType<CredentialStore["find"]>>["found"],
  key: string,
  keyId: string,
  peppers: Peppers,
): Outcome {
  // An unknown id costs an HMAC too, so that the answer's time does not tell it from a known one.
  const proof = found?.proof ?? { mac: new Uint8Array(32), pepperVersion: 0 };
  const proven = peppers.proves(key, proof);
  if (!found || !proven) return refusal(ErrorReason.CREDENTIAL_INVALID, keyId, unknownTtlMs);
  if (found.key.revokeMs !== undefined) return refusal(ErrorReason.KEY_REVOKED, keyId, revokedTtlMs);
  return { case: "principal", value: principalFromStored(found.key) };
}

function refusal(reason: ErrorReason, keyId: string, ttlMs: number): Outcome {
  return { case: "refusal", value: { reason, keyId, refusalTtl: durationFromMs(ttlMs) } };
}

/** What one reading of the store has to tell; it moves the watch on. */
function* messagesOf(
  watch: { after: bigint; epoch: string; inSync: boolean },
  read: Awaited<ReturnType<CredentialStore["changesAfter"]>>,
): Generator<WatchMessage> {
  const told = { epoch: read.epoch, storeTime: timestampFromMs(read.nowMs) };
  const sameEpoch = watch.epoch === "" || watch.epoch === read.epoch;
  watch.epoch = read.epoch;
  // Nothing was seen, or what the store may have lost since: there is no telling what changed.
  if (watch.after === 0n || watch.after > read.revision || !sameEpoch) {
    watch.after = read.revision;
    yield { ...told, revision: read.revision, event: { case: "reset", value: {} } };
  } else {
    for (const { keyId, revoked, revision } of read.changes) {
      watch.after = revision;
      yield { ...told, revision, event: { case: "change", value: { keyId, revoked } } };
    }
    if (read.changes.length === changesMax) return;
    watch.after = read.revision;
  }
  const event = watch.inSync ? "heartbeat" : "snapshotEnd";
  watch.inSync = true;
  yield { ...told, revision: read.revision, event: { case: event, value: {} } };
}
