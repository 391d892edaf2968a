import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../errors/fail.ts";

/** Headers of a request, of node:http by an adapter or of fetch. */
export interface HeaderReader {
  get(name: string): string | null | undefined;
}

const queryNames: ReadonlySet<string> = new Set([
  "access_token",
  "api-key",
  "api_key",
  "apikey",
  "auth",
  "authorization",
  "key",
  "token",
  "x-api-key",
]);

/** Whether a query string, with its question mark or without, holds what may be a key. */
export function queryHasKey(query: string): boolean {
  return query !== "" && [...new URLSearchParams(query).keys()].some((name) => queryNames.has(name.toLowerCase()));
}

const bearer = /^bearer(?: +(.*))?$/i;

/**
 * The one credential of a request, from `Authorization: Bearer`, `x-api-key` or `api-key`: whichever carries it, it is
 * treated the same. A refusal is a value. A key in the query string is never used, because URLs end up in logs.
 */
export function credentialFrom(headers: HeaderReader, inQuery: boolean): string | WeirError {
  const authorization = valueOf(headers, "authorization");
  const xApiKey = valueOf(headers, "x-api-key");
  const apiKey = valueOf(headers, "api-key");
  const credential = authorization || xApiKey || apiKey;
  if (credential === "") return fail(ErrorReason.CREDENTIAL_MISSING);
  if (inQuery) return fail(ErrorReason.CREDENTIAL_AMBIGUOUS, { where: "header and query string" });
  // Headers of one name are joined by a comma, which no key contains.
  const given = Number(authorization !== "") + Number(xApiKey !== "") + Number(apiKey !== "");
  if (given > 1 || credential.includes(",")) {
    return fail(ErrorReason.CREDENTIAL_AMBIGUOUS, { where: "several headers" });
  }
  return authorization === "" ? credential : tokenFrom(authorization);
}

/** Empty if there is none. */
function valueOf(headers: HeaderReader, name: string): string {
  return headers.get(name)?.trim() ?? "";
}

function tokenFrom(authorization: string): string | WeirError {
  const match = bearer.exec(authorization);
  const token = match?.[1]?.trim();
  if (!token) return fail(ErrorReason.CREDENTIAL_MISSING);
  return token.includes(" ") ? fail(ErrorReason.CREDENTIAL_INVALID) : token;
}
