import { crc32 } from "node:zlib";

/*
 * A key is `weir_<id>_<secret><crc32>`, 54 characters. The prefix lets secret scanners find it, the checksum lets them
 * and us tell a mistyped or invented key from a real one without asking anybody.
 */

const prefix = "weir_";
/** 71 bits: no two keys of an installation ever share an id. */
export const keyIdLength = 12;
/** 178.6 bits: beyond guessing, so that one HMAC is enough to keep it and no slow hash is needed. */
export const keySecretLength = 30;
/** 62^6 is the first power of 62 above 2^32. */
const checksumLength = 6;
/** Of a whole key, in characters. */
export const keyLength = prefix.length + keyIdLength + 1 + keySecretLength + checksumLength;

/** The digits of ids, secrets and checksums. */
export const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const shape = /^weir_([0-9A-Za-z]{12})_[0-9A-Za-z]{36}$/;

/** The whole key of an id and a secret, both base62 and as long as the format says. */
export function formatKey(id: string, secret: string): string {
  const body = `${prefix}${id}_${secret}`;
  return body + checksumOf(body);
}

/**
 * The id in a key, or undefined when it is no key of ours: prefix, length, alphabet or checksum are wrong. It costs the
 * same for whatever is put in, however long that is, and asks nobody.
 */
export function keyIdFrom(key: string): string | undefined {
  if (key.length !== keyLength) return undefined;
  const id = shape.exec(key)?.[1];
  if (id === undefined) return undefined;
  const bodyLength = keyLength - checksumLength;
  return checksumOf(key.slice(0, bodyLength)) === key.slice(bodyLength) ? id : undefined;
}

function checksumOf(body: string): string {
  let rest = crc32(body);
  let digits = "";
  for (let place = 0; place < checksumLength; place++) {
    digits = base62.charAt(rest % 62) + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}
