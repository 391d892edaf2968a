import {
  type CallOptions as ConnectCallOptions,
  type ContextValues,
  createContextKey,
  createContextValues,
} from "@connectrpc/connect";
import type { CallOptions } from "./context.ts";

declare global {
  /** Connect-es names this type of the DOM, which Node's own types have not. */
  type HeadersInit = NonNullable<ConstructorParameters<typeof Headers>[0]>;
}

const key = createContextKey<CallOptions>({}, { description: "what a caller says of its call" });

/** Our call options as those of a Connect client, for calls through a client of the mesh. */
export function withCallOptions(options: CallOptions): ConnectCallOptions {
  return {
    contextValues: createContextValues().set(key, options),
    ...(options.signal ? { signal: options.signal } : {}),
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    ...(options.headers ? { headers: options.headers } : {}),
  };
}

/** What a transport was called with, as our options. */
export function callOptionsFrom(
  values: ContextValues | undefined,
  signal: AbortSignal | undefined,
  timeoutMs: number | undefined,
  headers: HeadersInit | undefined,
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
