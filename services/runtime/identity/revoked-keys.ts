import { LRUCache } from "lru-cache";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../errors/fail.ts";

/** Called once, when the key that a stream runs with was revoked. */
export type RevokedListener = (error: WeirError) => void;

/** Who wants to know that a key was revoked. */
export interface RevokedKeys {
  /** Cuts what listens to the key, and whatever comes to listen later. */
  revoke(keyId: string): void;
  /** Listens; a key that is known to be revoked is told in the next microtask. Returns how to stop listening. */
  listen(keyId: string, listener: RevokedListener): () => void;
}

/** Revoked keys that are remembered for streams that begin to listen just after: a few seconds' worth is enough. */
const rememberedMax = 10_000;

export function createRevokedKeys(): RevokedKeys {
  const listeners = new Map<string, Set<RevokedListener>>();
  const remembered = new LRUCache<string, true>({ max: rememberedMax });

  return {
    revoke(keyId) {
      remembered.set(keyId, true);
      const listening = listeners.get(keyId);
      listeners.delete(keyId);
      for (const listener of listening ?? []) listener(fail(ErrorReason.KEY_REVOKED, { key_id: keyId }));
    },
    listen(keyId, listener) {
      const listening = listeners.get(keyId) ?? new Set();
      listeners.set(keyId, listening.add(listener));
      if (remembered.has(keyId)) queueMicrotask(() => this.revoke(keyId));
      return () => {
        listening.delete(listener);
        if (listening.size === 0 && listeners.get(keyId) === listening) listeners.delete(keyId);
      };
    },
  };
}
