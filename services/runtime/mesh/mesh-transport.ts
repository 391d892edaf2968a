import type { ContextValues, Transport } from "@connectrpc/connect";
import { weirErrorFrom } from "../errors/fail.ts";
import { callOptionsFrom } from "./call-options.ts";
import { writeMeshHeaders } from "./mesh-headers.ts";

/**
 * A transport of a process of the installation: every call carries its token and on whose behalf it is, and every error
 * is one with a reason again.
 */
export function withMeshHeaders(transport: Transport, token: string): Transport {
  return {
    async unary(method, signal, timeoutMs, headers, input, values) {
      try {
        return await transport.unary(method, signal, timeoutMs, sent(headers, token, values), input);
      } catch (thrown) {
        throw weirErrorFrom(thrown);
      }
    },
    async stream(method, signal, timeoutMs, headers, input, values) {
      try {
        return await transport.stream(method, signal, timeoutMs, sent(headers, token, values), input);
      } catch (thrown) {
        throw weirErrorFrom(thrown);
      }
    },
  };
}

function sent(headers: HeadersInit | undefined, token: string, values: ContextValues | undefined): Headers {
  const all = new Headers(headers);
  writeMeshHeaders(all, token, callOptionsFrom(values, undefined, undefined, undefined));
  return all;
}
