import { credentialFrom, queryHasKey } from "../runtime/identity/credentials.ts";
import type { WeirError } from "../runtime/errors/fail.ts";
import type { HttpRequest } from "../runtime/server/app.ts";
import type { JsonObject } from "./json/parse.ts";
import { isJsonObject } from "./json/parse.ts";
import { invalid } from "./openai/invalid.ts";

/** What the headers and the address of a request say beside its body. */

/** The value of a header that comes once; several are joined, and fit no rule. */
export function headerOf(request: HttpRequest, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === "string" ? value : value?.join(",");
}

/** The one credential of the request. */
export function credentialOf(request: HttpRequest, query: string): string | WeirError {
  return credentialFrom({ get: (name) => headerOf(request, name) }, queryHasKey(query));
}

/** The caller's own id of the request, if it is one that may be sent back. */
export function clientRequestId(request: HttpRequest): string | undefined {
  const id = headerOf(request, "x-client-request-id") ?? headerOf(request, "x-request-id");
  return id !== undefined && /^[A-Za-z0-9._:-]{1,128}$/.test(id) ? id : undefined;
}

/** The contract's own deadline of a generation: nobody may ask for more. */
const deadlineMaxMs = 3_600_000;

/**
 * How long the caller waits, in milliseconds: `x-weir-timeout-ms`, which must be a number from 1 and is clamped; else,
 * for an answer that comes in one piece, what official clients say of themselves. Undefined: it did not say.
 */
export function deadlineOf(request: HttpRequest, stream: boolean): number | undefined {
  const stated = headerOf(request, "x-weir-timeout-ms");
  if (stated !== undefined) {
    if (!/^\d{1,16}$/.test(stated) || Number(stated) === 0) {
      throw invalid("x-weir-timeout-ms", "invalid_value", "must be a whole number of milliseconds from 1");
    }
    return Math.min(Number(stated), deadlineMaxMs);
  }
  // It bounds the wait for headers, which a stream has long before its end.
  const seconds = stream ? Number.NaN : Number(headerOf(request, "x-stainless-timeout") ?? Number.NaN);
  return seconds > 0 ? Math.min(seconds * 1000, deadlineMaxMs) : undefined;
}

const affinityHeaders = ["x-session-affinity", "x-session-id", "session-id", "x-claude-code-session-id"] as const;
const affinityLengthMax = 256;

/** What keeps the requests of one session together, from the body or the headers of the clients that send one. */
export function affinityOf(request: HttpRequest, body: JsonObject): string {
  const metadata = body["metadata"];
  const candidates = [
    body["prompt_cache_key"],
    ...affinityHeaders.map((name) => headerOf(request, name)),
    body["session_id"],
    isJsonObject(metadata) ? metadata["user_id"] : undefined,
  ];
  const found = candidates.find((candidate) => typeof candidate === "string" && candidate !== "");
  return typeof found === "string" ? found.slice(0, affinityLengthMax) : "";
}
