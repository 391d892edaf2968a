import { hash } from "node:crypto";

/** Prompts that begin alike share this many bytes at a time. */
const blockBytes = 512;
/** As {@link countTokens} counts. */
const tokensPerBlock = blockBytes / 4;

/** Beginnings of prompts whose prefill was done before, as an engine keeps them: by whole blocks, the newest used. */
export interface PrefixCache {
  /**
   * Tokens at the beginning of the prompt that need no prefill, never all of them; remembers the prompt for the next
   * one. Prompts of different salts share nothing.
   */
  use(prompt: string, salt: string): number;
}

/** Builds a cache that keeps `blocksMax` blocks. */
export function createPrefixCache(blocksMax: number): PrefixCache {
  const known = new Set<string>();
  return {
    use(prompt, salt) {
      const bytes = Buffer.from(prompt);
      let key = salt;
      let cached = 0;
      let unbroken = true;
      // The last token is always computed: an engine needs its output to go on.
      for (let at = 0; at + blockBytes < bytes.length; at += blockBytes) {
        key = hash("sha1", Buffer.concat([Buffer.from(key), bytes.subarray(at, at + blockBytes)]), "base64");
        unbroken &&= known.delete(key);
        if (unbroken) cached += tokensPerBlock;
        known.add(key);
      }
      for (const oldest of known) {
        if (known.size <= blocksMax) break;
        known.delete(oldest);
      }
      return cached;
    },
  };
}
