import type { DescMethod } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { type Audience, ScopeKind } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";
import type { Clock, Timer } from "../clock.ts";
import { fail, WeirError } from "../errors/fail.ts";
import type { MethodPolicy } from "../policy/method-policy.ts";
import type { CallContext, ResolvedScope } from "./context.ts";
import type { MethodEntry } from "./descriptor.ts";

/** What a transport tells of a call. Headers are asked for when a handler wants them. */
export interface CallOrigin {
  readonly audience: Audience;
  readonly principal: Principal | undefined;
  readonly requestId: string;
  /** How long the caller is ready to wait from now on, in milliseconds; Infinity if it did not say. */
  readonly timeoutMs: number;
  /** Ends the call from the caller's side, beside the transport's own cancel. */
  readonly callerSignal: AbortSignal | undefined;
  /** The request needs no validation: a process of the installation built it from checked parts. */
  readonly trusted: boolean;
  /** The handler's own copy of what the caller sent. */
  sentHeaders(): Headers;
  /** Where the handler writes, for the transport to send. */
  answerHeaders(): Headers;
}

const unresolved: ResolvedScope = Object.freeze({ kind: ScopeKind.UNSPECIFIED, id: "", orgId: "" });

/**
 * A call that was admitted, as its handler sees it.
 *
 * It is admitted; then armed (its deadline, the caller's signal and the revocation of its key can stop it); then over,
 * exactly once: by its handler's outcome, or by being stopped, which aborts the handler's signal.
 */
export class RunningCall implements CallContext {
  readonly entry: MethodEntry;
  readonly policy: MethodPolicy;
  readonly origin: CallOrigin;
  readonly startMs: number;
  readonly timeoutMs: number;
  scope: ResolvedScope = unresolved;
  over = false;
  #clock: Clock;
  #timer: Timer | undefined;
  #unwatch: (() => void) | undefined;
  #onAbort: (() => void) | undefined;
  #controller: AbortController | undefined;
  #stoppedBy: WeirError | undefined;
  #requestHeaders: Headers | undefined;
  #responseHeaders: Headers | undefined;

  constructor(entry: MethodEntry, policy: MethodPolicy, origin: CallOrigin, clock: Clock) {
    this.entry = entry;
    this.policy = policy;
    this.origin = origin;
    this.#clock = clock;
    this.startMs = clock.monotonicMs();
    this.timeoutMs = Math.min(policy.deadlineMs, origin.timeoutMs);
  }

  get method(): DescMethod {
    return this.entry.method;
  }

  get audience(): Audience {
    return this.origin.audience;
  }

  get principal(): Principal | undefined {
    return this.origin.principal;
  }

  get requestId(): string {
    return this.origin.requestId;
  }

  get deadlineMs(): number {
    return this.startMs + this.timeoutMs;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#stoppedBy) this.#controller.abort(this.#stoppedBy);
    }
    return this.#controller.signal;
  }

  get requestHeaders(): Headers {
    this.#requestHeaders ??= this.origin.sentHeaders();
    return this.#requestHeaders;
  }

  get responseHeaders(): Headers {
    this.#responseHeaders ??= this.origin.answerHeaders();
    return this.#responseHeaders;
  }

  /**
   * Lets the deadline, the caller's signal and `watch` (which returns how to stop watching) end the call.
   *
   * @returns why it may not even start.
   */
  arm(
    stop: (error: WeirError) => void,
    watch?: (stop: (error: WeirError) => void) => () => void,
  ): WeirError | undefined {
    const signal = this.origin.callerSignal;
    if (signal?.aborted) return errorOfAbort(signal);
    const leftMs = this.deadlineMs - this.#clock.monotonicMs();
    if (leftMs <= 0) return this.#expired();
    this.#timer = this.#clock.setTimer(leftMs, () => stop(this.#expired()));
    if (signal) {
      const aborted = (): void => stop(errorOfAbort(signal));
      this.#onAbort = aborted;
      signal.addEventListener("abort", aborted, { once: true });
    }
    const unwatch = watch?.(stop);
    // The watch may have told at once.
    if (this.over) unwatch?.();
    else this.#unwatch = unwatch;
    return undefined;
  }

  /** The call is over: whatever could have stopped it is let go. */
  disarm(): void {
    this.over = true;
    this.#timer?.cancel();
    if (this.#onAbort) this.origin.callerSignal?.removeEventListener("abort", this.#onAbort);
    this.#unwatch?.();
  }

  /** Tells the handler that nobody waits for it any more. */
  abort(reason: WeirError): void {
    this.#stoppedBy = reason;
    this.#controller?.abort(reason);
  }

  #expired(): WeirError {
    return fail(ErrorReason.DEADLINE_EXCEEDED, { deadline_ms: String(Math.round(this.timeoutMs)) });
  }
}

/** Why a signal was aborted: the reason if it is one of ours, else that time was up or the caller took it back. */
export function errorOfAbort(signal: AbortSignal): WeirError {
  const reason: unknown = signal.reason;
  if (reason instanceof WeirError) return reason;
  const late = reason instanceof ConnectError && reason.code === Code.DeadlineExceeded;
  return fail(late ? ErrorReason.DEADLINE_EXCEEDED : ErrorReason.CANCELLED);
}
