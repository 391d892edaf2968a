import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { makeCredential } from "../../services/auth/key-material.ts";
import { formatKey, keyIdFrom } from "../../services/runtime/identity/key-format.ts";

const id = "0123456789Ab";
const secret = "ZYXWVUTSRQPONMLKJIHGFEDCBAzyxw";
const key = formatKey(id, secret);

test("a key reads weir_<id>_<secret><crc32>", () => {
  expect(key).toMatch(/^weir_0123456789Ab_ZYXWVUTSRQPONMLKJIHGFEDCBAzyxw[0-9A-Za-z]{6}$/);
  expect(key).toHaveLength(54);
  expect(keyIdFrom(key)).toBe(id);
});

test("the checksum is the CRC-32 of everything before it, in base62", () => {
  // From another implementation: zlib.crc32(b"weir_AAAAAAAAAAAA_" + b"0" * 30) is 2317893506.
  expect(formatKey("AAAAAAAAAAAA", "0".repeat(30)).slice(-6)).toBe("2Wrdz8");
});

const refused: readonly (readonly [what: string, text: string])[] = [
  ["nothing", ""],
  ["a space", " "],
  ["the prefix alone", "weir_"],
  ["another prefix", key.replace("weir_", "sk-a_")],
  ["a prefix in capitals", key.replace("weir_", "WEIR_")],
  ["a cut key", key.slice(0, -1)],
  ["a longer key", `${key}0`],
  ["a key with a line end", `${key}\n`],
  ["a mistyped checksum", key.slice(0, -1) + (key.endsWith("0") ? "1" : "0")],
  ["a mistyped id", key.replace("0123", "0124")],
  ["two swapped characters of the secret", key.replace("ZYXW", "YZXW")],
  ["10 KB", key + "a".repeat(10_240 - key.length)],
  ["10 KB of prefix", "weir_".repeat(2_048)],
  ["a NUL inside", `${key.slice(0, 20)}\0${key.slice(21)}`],
  ["a NUL at the end", `${key.slice(0, -1)}\0`],
  ["a homoglyph in the prefix", key.replace("weir", "w\u0435ir")],
  ["a homoglyph in the secret", key.replace("A", "\u0410")],
  ["full-width digits", key.replace("0", "\uff10")],
  ["a SQL condition", "' OR 1=1--"],
  ["a SQL condition as long as a key", "weir_' OR 1=1--".padEnd(54, "0")],
  ["an escaped NUL", "\\x00"],
  ["a pattern", "%"],
  ["a parameter", "$1"],
  ["a hash in hexadecimal", createHash("sha256").update(key).digest("hex")],
  ["a hash in base64", createHash("sha256").update(key).digest("base64")],
];

test.each(refused)("%s is no key", (_what, text) => {
  expect(keyIdFrom(text)).toBeUndefined();
});

test("every single mistyped character is noticed", () => {
  for (let place = 0; place < key.length; place++) {
    const other = key[place] === "7" ? "8" : "7";
    expect(keyIdFrom(key.slice(0, place) + other + key.slice(place + 1)), `place ${place}`).toBeUndefined();
  }
});

test("keys that share their first 20 characters are told apart", () => {
  const twin = formatKey(id, `ZY${"0".repeat(28)}`);
  expect(twin.slice(0, 20)).toBe(key.slice(0, 20));
  expect(twin).not.toBe(key);
  expect(keyIdFrom(twin)).toBe(id);
  const neighbour = formatKey("0123456789Ac", secret);
  expect(keyIdFrom(neighbour)).toBe("0123456789Ac");
});

test("a made key is well-formed, and bytes that would favour some digits are left out", () => {
  let next = 0;
  const asked: number[] = [];
  const made = makeCredential((length) => {
    asked.push(length);
    return Uint8Array.from({ length }, () => next++ % 256);
  });
  expect(keyIdFrom(made.key)).toBe(made.id);
  expect(made.id).toBe("0123456789AB");
  expect(asked).toEqual([12, 30]);
  const fair = makeCredential((length) => Uint8Array.from({ length }, () => (next++ % 2 ? 255 : 61)));
  expect(fair.key).toBe(formatKey("z".repeat(12), "z".repeat(30)));
});
