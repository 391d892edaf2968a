import { hash } from "node:crypto";
import { invalid } from "../runtime/arguments.ts";
import { keyFromToken, tokenFromKey } from "../runtime/paging.ts";

/** Long enough that nobody meets another query's by chance; it keeps nobody out. */
const fingerprintLength = 16;

/** A short text for a request without its page: equal for equal ones only. */
export function fingerprintOf(owner: string, request: Uint8Array): string {
  return hash("sha256", Buffer.concat([Buffer.from(`${owner}\0`), request]), "base64url").slice(0, fingerprintLength);
}

/** A token for the page after a row, bound to its request. No part holds U+0000. */
export function pageToken(fingerprint: string, parts: readonly string[]): string {
  return tokenFromKey([fingerprint, ...parts].join("\0"));
}

/** The parts of a token; undefined for the first page. Throws INVALID_ARGUMENT for a token of another request. */
export function partsOf(token: string, fingerprint: string, count: number): readonly string[] | undefined {
  if (token === "") return undefined;
  const [bound, ...parts] = keyFromToken(token).split("\0");
  if (bound === fingerprint && parts.length === count) return parts;
  throw invalid("page_token", "it is no next_page_token of this request");
}
