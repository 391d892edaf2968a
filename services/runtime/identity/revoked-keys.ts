import { LRUCache } from "lru-cache";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../errors/fail.ts";
import { Roster, type Rostered } from "../roster.ts";

/** Called once, when the key that a stream runs with was revoked. */
export type RevokedListener = (error: WeirError) => void;

/** Who wants to know that a key was revoked. */
export interface RevokedKeys {
  /** Cuts what listens to the key, and whatever comes to listen later. */
  revoke(keyId: string): void;
  /** Listens; a key that is known to be revoked is told in the next microtask. Returns how to stop listening. */
  listen(keyId: string, listener: RevokedListener): () => void;
  /** The keys that are listened to. */
  listened(): readonly string[];
  /** Forgets which keys were revoked: the store may have, too. */
  forget(): void;
}

/** Revoked keys that are remembered for streams that begin to listen just after: a few seconds' worth is enough. */
const rememberedMax = 10_000;

/** Keys that nobody listens to any more are forgotten when there are this many: most are used again soon. */
const keysMax = 10_000;

interface Listening extends Rostered {
  readonly listener: RevokedListener;
}

export function createRevokedKeys(): RevokedKeys {
  const listeners = new Map<string, Roster<Listening>>();
  const remembered = new LRUCache<string, true>({ max: rememberedMax });

  function rosterOf(keyId: string): Roster<Listening> {
    const known = listeners.get(keyId);
    if (known !== undefined) return known;
    if (listeners.size >= keysMax) for (const [id, { size }] of listeners) if (size === 0) listeners.delete(id);
    const roster = new Roster<Listening>();
    listeners.set(keyId, roster);
    return roster;
  }

  return {
    revoke(keyId) {
      remembered.set(keyId, true);
      const roster = listeners.get(keyId);
      listeners.delete(keyId);
      for (const { listener } of roster ?? []) listener(fail(ErrorReason.KEY_REVOKED, { key_id: keyId }));
    },
    listen(keyId, listener) {
      const roster = rosterOf(keyId);
      const listening: Listening = { listener, place: -1 };
      roster.add(listening);
      if (remembered.has(keyId)) queueMicrotask(() => this.revoke(keyId));
      return () => roster.delete(listening);
    },
    listened: () => [...listeners].flatMap(([keyId, { size }]) => (size > 0 ? [keyId] : [])),
    forget: () => remembered.clear(),
  };
}
