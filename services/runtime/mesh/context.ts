import type { DescMethod } from "@bufbuild/protobuf";
import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { Audience, ScopeKind } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";

/** Whose resource a call touches, as the runtime resolved it from the contract's scope. */
export interface ResolvedScope {
  readonly kind: ScopeKind;
  /** Id of the organisation or project; empty for NONE and INSTALLATION. */
  readonly id: string;
  /** The organisation, also of a project; empty for NONE, INSTALLATION, and a process that calls in its own name. */
  readonly orgId: string;
}

/** What a handler knows of its call beside the request. The same on every transport. */
export interface CallContext {
  readonly method: DescMethod;
  /** The listener, or AUDIENCE_MESH for a call from within the process. */
  readonly audience: Audience;
  /** Who calls; undefined only for a mesh method called by a peer process in its own name. */
  readonly principal: Principal | undefined;
  readonly scope: ResolvedScope;
  /** Aborted when the caller cancels, goes away, or the deadline passes. Made on first use. */
  readonly signal: AbortSignal;
  /** The deadline on the monotonic clock, in milliseconds. */
  readonly deadlineMs: number;
  /** Our id of the request, a UUIDv7. */
  readonly requestId: string;
  /** Headers that the caller sent; empty for a call from within the process that gave none. */
  readonly requestHeaders: Headers;
  /** Sent before the first message. */
  readonly responseHeaders: Headers;
}

/** What a caller from within may say beside the request. */
export interface CallOptions {
  /** On whose behalf. */
  readonly principal?: Principal;
  /** Gives up after this long, in milliseconds, at once if nothing is left; the method's own deadline if it is shorter. */
  readonly timeoutMs?: number;
  /** Gives up when it aborts. */
  readonly signal?: AbortSignal;
  readonly headers?: Headers | Readonly<Record<string, string>>;
  /** Our id of the request, a UUIDv7; made if there is none. */
  readonly requestId?: string;
  /**
   * The request was built by this process from checked parts: it is not validated again. Within the process messages of
   * such a call are handed over and not copied: neither side changes them any more.
   */
  readonly trusted?: boolean;
}
