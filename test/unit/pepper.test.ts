import { expect, test } from "vitest";
import { pepperProblem, peppersFrom } from "../../services/auth/pepper.ts";
import { formatKey } from "../../services/runtime/identity/key-format.ts";

const first = "first-pepper-of-43-characters-0123456789abc";
const second = "second-pepper-of-43-characters-0123456789ab";
const key = formatKey("0123456789Ab", "ZYXWVUTSRQPONMLKJIHGFEDCBAzyxw");

test("a key proves itself, and nothing else does", () => {
  const peppers = peppersFrom(`${first}\n`);
  const proof = peppers.proofOf(key);
  expect(proof.pepperVersion).toBe(1);
  expect(proof.mac).toHaveLength(32);
  expect(peppers.proves(key, proof)).toBe(true);
  const others = [
    formatKey("0123456789Ab", "ZYXWVUTSRQPONMLKJIHGFEDCBAzyx0"),
    // What the store holds, presented as the key.
    Buffer.from(proof.mac).toString("hex"),
    Buffer.from(proof.mac).toString("base64url"),
    Buffer.from(proof.mac).toString("latin1"),
    "",
  ];
  for (const other of others) expect(peppers.proves(other, proof)).toBe(false);
});

test("a proof that is damaged or of a pepper that is gone proves nothing", () => {
  const peppers = peppersFrom(first);
  const { mac } = peppers.proofOf(key);
  expect(peppers.proves(key, { mac: mac.subarray(0, 31), pepperVersion: 1 })).toBe(false);
  expect(peppers.proves(key, { mac: new Uint8Array(0), pepperVersion: 1 })).toBe(false);
  for (const pepperVersion of [0, 2, -1, 1.5]) expect(peppers.proves(key, { mac, pepperVersion })).toBe(false);
});

test("a pepper is replaced by appending one: old keys go on, new ones use the new one", () => {
  const before = peppersFrom(first).proofOf(key);
  const peppers = peppersFrom(`${first}\n${second}\n`);
  expect(peppers.proves(key, before)).toBe(true);
  const after = peppers.proofOf(key);
  expect(after.pepperVersion).toBe(2);
  expect(Buffer.from(after.mac).equals(before.mac)).toBe(false);
  expect(peppers.proves(key, after)).toBe(true);
  expect(peppers.proves(key, { ...after, pepperVersion: 1 })).toBe(false);
});

test("a pepper that is next checks keys and hashes none, until its mark is taken away", () => {
  const now = peppersFrom(`${first}\nnext ${second}\n`);
  const then = peppersFrom(`${first}\n${second}\n`);
  expect(now.proofOf(key).pepperVersion).toBe(1);
  expect(now.proves(key, then.proofOf(key))).toBe(true);
  expect(now.fingerprints).toEqual(then.fingerprints);
});

test("whether a proof can be judged is told apart from its being wrong", () => {
  const proof = peppersFrom(`${first}\n${second}`).proofOf(key);
  expect(peppersFrom(first).knows(proof)).toBe(false);
  expect(peppersFrom(`${first}\nnext ${second}`).knows(proof)).toBe(true);
  expect(peppersFrom(first).knows({ ...proof, pepperVersion: 0 })).toBe(false);
});

test.each([
  [`next ${first}`, "no line of the pepper file is in use"],
  [`next ${first}\n${second}`, "line 1 of the pepper file is `next`, and a later one is in use"],
  [`${first}\nnext short`, "line 2 of the pepper file is shorter than 32 characters"],
  ["", "the pepper file is empty"],
  ["\n\n", "the pepper file is empty"],
  ["short", "line 1 of the pepper file is shorter than 32 characters"],
  [`${first}\n\n${second}`, "line 2 of the pepper file is shorter than 32 characters"],
])("the pepper file %j is refused", (text, problem) => {
  expect(() => peppersFrom(text)).toThrow(problem);
});

test("peppers that are not those of the store are noticed", () => {
  const kept = peppersFrom(`${first}\n${second}`).fingerprints;
  expect(pepperProblem(peppersFrom(`${first}\n${second}`), kept)).toBeUndefined();
  expect(pepperProblem(peppersFrom(`${first}\n${second}\n${first}`), kept)).toBeUndefined();
  expect(pepperProblem(peppersFrom(first), kept)).toBe("pepper 2 is missing from the pepper file");
  expect(pepperProblem(peppersFrom(`${second}\n${second}`), kept)).toBe(
    "pepper 1 in the pepper file is not the one that keys were hashed with",
  );
  for (const fingerprint of kept.values()) expect(first + second).not.toContain(fingerprint);
});
