import type { DescMethod } from "@bufbuild/protobuf";
import type { ContextValues, Transport } from "@connectrpc/connect";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError, weirErrorFrom } from "../errors/fail.ts";
import { callOptionsFrom } from "./call-options.ts";
import { writeMeshHeaders } from "./mesh-headers.ts";

/** How long to leave a peer alone that could not be reached: about as long as a process takes to come back. */
const retryAfterMs = 1_000;

/**
 * A transport of a process of the installation: every call carries its token and on whose behalf it is, and every error
 * is one with a reason again.
 */
export function withMeshHeaders(transport: Transport, token: string): Transport {
  return {
    async unary(method, signal, timeoutMs, headers, input, values) {
      try {
        return await transport.unary(method, signal, whole(timeoutMs), sent(headers, token, values), input);
      } catch (thrown) {
        throw errorOfPeer(method, thrown);
      }
    },
    async stream(method, signal, timeoutMs, headers, input, values) {
      try {
        return await transport.stream(method, signal, whole(timeoutMs), sent(headers, token, values), input);
      } catch (thrown) {
        throw errorOfPeer(method, thrown);
      }
    },
  };
}

function sent(headers: HeadersInit | undefined, token: string, values: ContextValues | undefined): Headers {
  const all = new Headers(headers);
  writeMeshHeaders(all, token, callOptionsFrom(values, undefined, undefined, undefined));
  return all;
}

// What is left of a deadline has a fraction, and the protocols' headers have none. Nothing left would mean no deadline.
function whole(timeoutMs: number | undefined): number | undefined {
  if (timeoutMs === undefined) return undefined;
  if (timeoutMs <= 0) throw fail(ErrorReason.DEADLINE_EXCEEDED, { deadline_ms: "0" });
  return Math.ceil(timeoutMs);
}

function errorOfPeer(method: DescMethod, thrown: unknown): WeirError {
  const error = weirErrorFrom(thrown);
  if (error.reason !== ErrorReason.SERVICE_UNAVAILABLE || error.facts["service"]) return error;
  const facts = { service: method.parent.typeName, retry_after_ms: String(retryAfterMs) };
  return fail(error.reason, facts, { cause: thrown, retryAfterMs });
}
