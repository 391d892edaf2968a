import ipaddr from "ipaddr.js";
import { LRUCache } from "lru-cache";

interface Bucket {
  tokens: number;
  refilledMs: number;
}

/** How many credentials that are none of ours each caller's address may try. */
export interface BadCredentials {
  /** How long the address has to wait before an unknown key of it is looked up, in milliseconds; 0: not at all. */
  waitMs(address: string, nowMs: number): number;
  /** Counts one credential that was none of ours. */
  spend(address: string, nowMs: number): void;
}

/** Addresses that are remembered. A caller who has more of them than this is one for the firewall. */
const addressesMax = 10_000;

/**
 * A token bucket an address: `perMinuteMax` at once, refilled evenly over a minute. Tries that were under way together
 * may overdraw it, which makes the wait longer, by another minute at most. `nowMs` is monotonic.
 */
export function createBadCredentials(perMinuteMax: number): BadCredentials {
  const buckets = new LRUCache<string, Bucket>({ max: addressesMax });
  const perMs = perMinuteMax / 60_000;

  function refilled(address: string, nowMs: number): Bucket | undefined {
    const bucket = buckets.get(networkOf(address));
    if (!bucket) return undefined;
    bucket.tokens = Math.min(perMinuteMax, bucket.tokens + (nowMs - bucket.refilledMs) * perMs);
    bucket.refilledMs = nowMs;
    return bucket;
  }

  return {
    waitMs(address, nowMs) {
      const bucket = refilled(address, nowMs);
      return !bucket || bucket.tokens >= 1 ? 0 : Math.ceil((1 - bucket.tokens) / perMs);
    },
    spend(address, nowMs) {
      const bucket = refilled(address, nowMs);
      if (bucket) bucket.tokens = Math.max(-perMinuteMax, bucket.tokens - 1);
      else buckets.set(networkOf(address), { tokens: perMinuteMax - 1, refilledMs: nowMs });
    },
  };
}

/** What one caller can be expected to hold: an IPv4 address, or the /64 of an IPv6 address. */
function networkOf(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  return parsed instanceof ipaddr.IPv6 ? parsed.parts.slice(0, 4).join(":") : parsed.toString();
}
