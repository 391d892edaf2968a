import { LRUCache } from "lru-cache";
import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Validity } from "./conditions.ts";

/** A time within which the store's revisions count on, so that the watch can tell all that changed. */
export interface Epoch {
  /** Once it is over: when the watch was last in sync in it, on the monotonic clock. */
  endMs: number | undefined;
}

/** A key that was found good. */
export interface Known {
  readonly principal: Principal;
  readonly validity: Validity;
  /** When the auth service last said so, on the monotonic clock. */
  readonly checkedMs: number;
  /** When that was, for the store. */
  readonly epoch: Epoch;
  /** From when on it is worth asking again, on the same clock. */
  readonly refreshFromMs: number;
}

/** A key that was refused. */
export interface Refused {
  readonly reason: (typeof ErrorReason)["CREDENTIAL_INVALID" | "KEY_REVOKED"];
  readonly keyId: string;
  /** On the monotonic clock. */
  readonly untilMs: number;
}

/** What is known of keys, each by the SHA-256 of the whole key: two keys that begin alike are two keys. */
export interface PrincipalCache {
  known(digest: string): Known | undefined;
  refused(digest: string, nowMs: number): Refused | undefined;
  /** Whether it was just said that the key cannot be checked. It may be known from before. */
  isUnchecked(digest: string, nowMs: number): boolean;
  setKnown(digest: string, known: Known): void;
  setRefused(digest: string, refused: Refused): void;
  /** @param untilMs on the monotonic clock. */
  setUnchecked(digest: string, untilMs: number): void;
  /** Forgets a good key and tells under which digests it was kept. */
  drop(keyId: string): readonly string[];
  /** Forgets what was refused. */
  clearRefused(): void;
}

/** Beyond the keys that one process sees in use. */
const knownMax = 100_000;
/** Of all of them, about: 1 KiB each. Keys may name hundreds of models, and who makes keys is a tenant. */
const knownBytesMax = knownMax * 1_024;
/** What a key takes that says little, with its place in the maps; and what a text takes beside its characters. */
const [entryBytes, textBytes] = [768, 40];
/** Its own bound, so that a flood of invented keys pushes out no good one. */
const refusedMax = 10_000;
/** As many as can be asked about in the second for which they are remembered, and more. */
const uncheckedMax = 10_000;

export function createPrincipalCache(): PrincipalCache {
  const digestsByKeyId = new Map<string, Set<string>>();
  const known = new LRUCache<string, Known>({
    max: knownMax,
    maxSize: knownBytesMax,
    sizeCalculation: bytesOf,
    dispose: ({ principal: { keyId } }, digest) => {
      const digests = digestsByKeyId.get(keyId);
      digests?.delete(digest);
      if (digests?.size === 0) digestsByKeyId.delete(keyId);
    },
  });
  const refused = new LRUCache<string, Refused>({ max: refusedMax });
  /** Until when, by digest. */
  const unchecked = new LRUCache<string, number>({ max: uncheckedMax });

  return {
    known: (digest) => known.get(digest),
    refused(digest, nowMs) {
      const entry = refused.get(digest);
      return entry && nowMs < entry.untilMs ? entry : undefined;
    },
    isUnchecked: (digest, nowMs) => nowMs < (unchecked.get(digest) ?? Number.NEGATIVE_INFINITY),
    setKnown(digest, entry) {
      refused.delete(digest);
      known.set(digest, entry);
      const digests = digestsByKeyId.get(entry.principal.keyId);
      if (digests) digests.add(digest);
      else digestsByKeyId.set(entry.principal.keyId, new Set([digest]));
    },
    setRefused(digest, entry) {
      known.delete(digest);
      refused.set(digest, entry);
    },
    setUnchecked: (digest, untilMs) => void unchecked.set(digest, untilMs),
    drop(keyId) {
      const digests = [...(digestsByKeyId.get(keyId) ?? [])];
      for (const digest of digests) known.delete(digest);
      return digests;
    },
    clearRefused: () => refused.clear(),
  };
}

/** About what an entry takes of memory. */
function bytesOf({ principal: { permissions, models } }: Known): number {
  let bytes = entryBytes;
  for (const text of permissions) bytes += textBytes + text.length;
  for (const text of models?.names ?? []) bytes += textBytes + text.length;
  return bytes;
}
