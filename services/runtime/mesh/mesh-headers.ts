import { hash, timingSafeEqual } from "node:crypto";
import { decodeBinaryHeader, encodeBinaryHeader } from "@connectrpc/connect";
import { type Principal, PrincipalSchema } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../errors/fail.ts";
import type { CallOptions } from "./context.ts";

const tokenHeader = "weir-mesh-token";
const principalHeader = "weir-principal-bin";
const requestIdHeader = "weir-request-id";
const trustedHeader = "weir-trusted";

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Says to a peer who we are, and on whose behalf we call. */
export function writeMeshHeaders(headers: Headers, token: string, options: CallOptions): void {
  headers.set(tokenHeader, token);
  if (options.principal) headers.set(principalHeader, encodeBinaryHeader(options.principal, PrincipalSchema));
  if (options.requestId) headers.set(requestIdHeader, options.requestId);
  if (options.trusted) headers.set(trustedHeader, "1");
}

/** What a peer says of its call; PEER_NOT_TRUSTED unless it holds the installation's token. */
export function readMeshHeaders(
  headers: Headers,
  token: string,
): Pick<CallOptions, "principal" | "requestId" | "trusted"> | WeirError {
  const presented = headers.get(tokenHeader);
  if (presented === null || !sameText(presented, token)) return fail(ErrorReason.PEER_NOT_TRUSTED);
  const principal = principalFrom(headers.get(principalHeader));
  const requestId = headers.get(requestIdHeader);
  return {
    ...(principal ? { principal } : {}),
    ...(requestId && uuid.test(requestId) ? { requestId } : {}),
    trusted: headers.get(trustedHeader) === "1",
  };
}

/** For the runtime and not for handlers: credentials, and what processes tell each other. */
const runtimeHeaders = [
  tokenHeader,
  principalHeader,
  requestIdHeader,
  trustedHeader,
  "authorization",
  "x-api-key",
  "api-key",
  "cookie",
];

/** The handler's own copy of what a caller sent. */
export function handlerHeaders(sent: Headers | Readonly<Record<string, string>> | undefined): Headers {
  const headers = new Headers(sent);
  for (const name of runtimeHeaders) headers.delete(name);
  return headers;
}

function principalFrom(value: string | null): Principal | undefined {
  return value === null ? undefined : decodeBinaryHeader(value, PrincipalSchema);
}

// Compared as digests, so that the time taken tells nothing of the token, its length included.
function sameText(left: string, right: string): boolean {
  return timingSafeEqual(hash("sha256", left, "buffer"), hash("sha256", right, "buffer"));
}
