import { type CallOptions as ConnectCallOptions, createContextKey, createContextValues } from "@connectrpc/connect";
import type { ContextValues, Transport } from "@connectrpc/connect";
import type { CallOptions } from "./context.ts";

const key = createContextKey<CallOptions>({}, { description: "what a caller says of its call" });

/** Our call options as those of a Connect client, for calls through a client of the mesh. */
export function withCallOptions(options: CallOptions): ConnectCallOptions {
  return {
    contextValues: createContextValues().set(key, options),
    ...(options.signal ? { signal: options.signal } : {}),
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    ...(options.headers ? { headers: new Headers(options.headers) } : {}),
  };
}

/** Headers as a transport is given them. */
export type SentHeaders = Parameters<Transport["unary"]>[3];

/** What a transport was called with, as our options. */
export function callOptionsFrom(
  values: ContextValues | undefined,
  signal: AbortSignal | undefined,
  timeoutMs: number | undefined,
  headers: SentHeaders,
): CallOptions {
  const { principal, requestId, trusted } = values?.get(key) ?? {};
  return {
    ...(principal ? { principal } : {}),
    ...(requestId ? { requestId } : {}),
    ...(trusted ? { trusted } : {}),
    ...(signal ? { signal } : {}),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(headers ? { headers: new Headers(headers) } : {}),
  };
}
