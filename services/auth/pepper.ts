import { createHmac, timingSafeEqual } from "node:crypto";
import type { KeyProof } from "./store.ts";

/** Hashes keys with a secret that the store does not have, so that what the store holds proves nothing. */
export interface Peppers {
  /** What to keep of a new key, hashed with the newest pepper that is in use. */
  proofOf(key: string): KeyProof;
  /** Whether the pepper that the proof was made with is one of these. If not, there is no telling whether a key is good. */
  knows(proof: KeyProof): boolean;
  /** Whether the key is the one that the proof was made of. Takes the same time for every key. */
  proves(key: string, proof: KeyProof): boolean;
  /** What tells each pepper from another, by its version, without giving it away. */
  readonly fingerprints: ReadonlyMap<number, string>;
}

/** 192 bits in base64url. */
const pepperLengthMin = 32;

/** Before a pepper that is to check keys and not to hash new ones yet. */
const nextMark = "next ";

/**
 * Reads a pepper file: one pepper a line; the first is version 1, the last hashes new keys. A pepper is replaced by
 * appending a line: keys that an older one hashed go on working. Lines at the end that begin with `next ` hash no new
 * keys yet: so every process learns of a pepper before one of them uses it.
 *
 * @throws Error that tells what is wrong with the text, without repeating it.
 */
export function peppersFrom(text: string): Peppers {
  const lines = text.split("\n").map((line) => line.trim());
  while (lines.at(-1) === "") lines.pop();
  if (lines.length === 0) throw new Error("the pepper file is empty");
  const inUse = lines.findLastIndex((line) => !line.startsWith(nextMark)) + 1;
  const early = lines.slice(0, inUse).findIndex((line) => line.startsWith(nextMark));
  if (early >= 0) throw new Error(`line ${early + 1} of the pepper file is \`next\`, and a later one is in use`);
  const peppers = lines.map((line) => (line.startsWith(nextMark) ? line.slice(nextMark.length).trim() : line));
  const newest = peppers[inUse - 1];
  if (newest === undefined) throw new Error("no line of the pepper file is in use: all are `next`");
  for (const [index, pepper] of peppers.entries()) {
    if (pepper.length < pepperLengthMin) {
      throw new Error(`line ${index + 1} of the pepper file is shorter than ${pepperLengthMin} characters`);
    }
  }
  return {
    proofOf: (key) => ({ mac: macOf(newest, key), pepperVersion: inUse }),
    knows: ({ pepperVersion }) => peppers[pepperVersion - 1] !== undefined,
    proves(key, proof) {
      const pepper = peppers[proof.pepperVersion - 1];
      const mac = macOf(pepper ?? newest, key);
      return (
        timingSafeEqual(mac, proof.mac.length === mac.length ? proof.mac : new Uint8Array(mac.length)) &&
        pepper !== undefined
      );
    },
    fingerprints: new Map(peppers.map((pepper, index) => [index + 1, fingerprintOf(pepper)])),
  };
}

/**
 * Why keys that the store knows could not be checked with these peppers; undefined if they can.
 *
 * @param kept fingerprints of the peppers that keys were hashed with.
 */
export function pepperProblem(peppers: Peppers, kept: ReadonlyMap<number, string>): string | undefined {
  for (const [version, fingerprint] of kept) {
    const ours = peppers.fingerprints.get(version);
    if (ours === undefined) return `pepper ${version} is missing from the pepper file`;
    if (ours !== fingerprint) return `pepper ${version} in the pepper file is not the one that keys were hashed with`;
  }
  return undefined;
}

function macOf(pepper: string, key: string): Buffer {
  return createHmac("sha256", pepper).update(key).digest();
}

function fingerprintOf(pepper: string): string {
  return createHmac("sha256", pepper).update("weir pepper fingerprint").digest("hex").slice(0, 16);
}
