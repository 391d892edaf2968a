import type { DescMethod } from "@bufbuild/protobuf";
import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { Audience, ScopeKind } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";
import { systemIds } from "../ids.ts";
import type { CallContext, CallOptions, ResolvedScope } from "./context.ts";
import { handlerHeaders } from "./mesh-headers.ts";
import type { CallOrigin } from "./running-call.ts";

const unresolved: ResolvedScope = Object.freeze({ kind: ScopeKind.UNSPECIFIED, id: "", orgId: "" });

/**
 * The caller's side of a call from within the process: what it says of the call, and where it reads the answer's
 * headers. Its deadline counts from the call on, so that `deadlineMs` is not known before.
 */
export class CallerContext implements CallContext, CallOrigin {
  readonly method: DescMethod;
  readonly audience: Audience = Audience.MESH;
  readonly principal: Principal | undefined;
  readonly scope: ResolvedScope = unresolved;
  readonly deadlineMs: number = Number.POSITIVE_INFINITY;
  readonly requestId: string;
  readonly timeoutMs: number;
  readonly callerSignal: AbortSignal | undefined;
  readonly trusted: boolean;
  readonly #headers: CallOptions["headers"];
  #signal: AbortSignal | undefined;
  #requestHeaders: Headers | undefined;
  #responseHeaders: Headers | undefined;

  constructor(method: DescMethod, options: CallOptions) {
    this.method = method;
    this.principal = options.principal;
    this.requestId = options.requestId ?? systemIds.uuidv7();
    this.timeoutMs = options.timeoutMs ?? Number.POSITIVE_INFINITY;
    this.callerSignal = options.signal;
    this.trusted = options.trusted ?? false;
    // Copied now: the caller may change its own while the handler runs.
    this.#headers = options.headers && new Headers(options.headers);
  }

  get signal(): AbortSignal {
    this.#signal ??= this.callerSignal ?? new AbortController().signal;
    return this.#signal;
  }

  get requestHeaders(): Headers {
    this.#requestHeaders ??= new Headers(this.#headers);
    return this.#requestHeaders;
  }

  get responseHeaders(): Headers {
    this.#responseHeaders ??= new Headers();
    return this.#responseHeaders;
  }

  sentHeaders(): Headers {
    return handlerHeaders(this.#headers);
  }

  answerHeaders(): Headers {
    return this.responseHeaders;
  }
}

/**
 * The context to give to a push call. A handler may pass its own context on instead: then the call is on behalf of the
 * same principal, under the same request id and within the same deadline.
 */
export function callContext(method: DescMethod, options: CallOptions = {}): CallContext {
  return new CallerContext(method, options);
}

/** What the gate is told of a call from within. */
export function originOf(context: CallContext, nowMs: number): CallOrigin {
  if (context instanceof CallerContext) return context;
  return new CallerContext(context.method, {
    ...(context.principal ? { principal: context.principal } : {}),
    requestId: context.requestId,
    timeoutMs: context.deadlineMs - nowMs,
  });
}
