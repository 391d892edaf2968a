import { base62, formatKey, keyIdLength, keySecretLength } from "../runtime/identity/key-format.ts";

/** A key that has just been made. */
export interface NewCredential {
  readonly id: string;
  /** The whole key. It exists here and with whoever asked for it. */
  readonly key: string;
}

/** Makes a key from unpredictable bytes. */
export function makeCredential(randomBytes: (length: number) => Uint8Array): NewCredential {
  const id = digits(keyIdLength, randomBytes);
  return { id, key: formatKey(id, digits(keySecretLength, randomBytes)) };
}

/** The largest multiple of 62 in a byte: what lies above would make the first digits likelier than the last. */
const fairMax = 248;

function digits(length: number, randomBytes: (length: number) => Uint8Array): string {
  let text = "";
  while (text.length < length) {
    for (const byte of randomBytes(length - text.length)) {
      if (byte < fairMax) text += base62.charAt(byte % 62);
    }
  }
  return text;
}
