import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type {
  ExtendRequestSchema,
  ExtendResponse,
  LeaseRequestSchema,
  LeaseResponse,
  QuotaService,
  ReserveRequestSchema,
  ReserveResponse,
  ReturnLeaseRequestSchema,
  SettleRequestSchema,
} from "../../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type WeirError, weirErrorFrom } from "../../runtime/errors/fail.ts";
import { withCallOptions } from "../../runtime/mesh/call-options.ts";

/** The unary methods of the quota service. */
export type QuotaClient = Pick<
  Client<typeof QuotaService>,
  "reserve" | "extend" | "settle" | "release" | "lease" | "returnLease"
>;

export interface StoreLinkOptions {
  readonly client: QuotaClient;
  readonly clock: Clock;
  readonly holderId: string;
  /** Calls fail from now on. */
  readonly away: (error: WeirError) => void;
  /** They succeed again. */
  readonly back: () => void;
}

/** A request waits for it: for a place (250 ms), for leases that others give back (250 ms), and for the way. */
const reserveTimeoutMs = 1_000;
const leaseTimeoutMs = 1_000;
const tellTimeoutMs = 5_000;
/** While calls fail one is tried this often; who comes between goes by the limits' on_failure at once. */
const probeMs = 500;
/** The service says something every 500 ms. */
const silenceMs = 2_000;
/** How often a call is made whose time passes while the service is heard: a caller waits for it, 3 s at most. */
const triesMax = 3;

/**
 * The way to the quota service. It is **there** until a call fails. One whose time passes while the watch is heard has not
 * failed: the service or this node is only slow. Nor has one that breaks after the service was heard of since: it began
 * with a process or a connection that is gone. Both are made again, for each may be heard twice. Then the way is **away**:
 * calls are tried now and then only, so that nobody waits for what is not there, until one succeeds or the watch is heard.
 */
export class StoreLink {
  readonly holderId: string;
  /** Nodes of the installation, as far as was heard last. */
  nodes = 1;
  readonly #options: StoreLinkOptions;
  #away = false;
  #probeAtMs = 0;
  #heardMs: number;
  /** Signs of life so far: answers, and what the watch said. */
  #signs = 0;

  constructor(options: StoreLinkOptions) {
    this.#options = options;
    this.holderId = options.holderId;
    this.#heardMs = options.clock.monotonicMs();
  }

  /** Whether a call is worth its wait. While it is away, one in a while is. */
  mayCall(nowMs: number): boolean {
    if (!this.#away) return true;
    if (nowMs < this.#probeAtMs) return false;
    this.#probeAtMs = nowMs + probeMs;
    return true;
  }

  /** Nothing was heard of the watch for so long that what is cached may be no longer true. */
  silent(nowMs: number): boolean {
    return nowMs - this.#heardMs > silenceMs;
  }

  /** The watch said something, and how many nodes there are. */
  heard(nodes: number): void {
    this.nodes = nodes;
    this.#heardMs = this.#options.clock.monotonicMs();
    this.#succeeded();
  }

  reserve(request: MessageInitShape<typeof ReserveRequestSchema>): Promise<ReserveResponse> {
    return this.#call((client) => client.reserve(request, callOptions(reserveTimeoutMs)));
  }

  lease(request: MessageInitShape<typeof LeaseRequestSchema>): Promise<LeaseResponse> {
    return this.#call((client) => client.lease(request, callOptions(leaseTimeoutMs)));
  }

  extend(request: MessageInitShape<typeof ExtendRequestSchema>): Promise<ExtendResponse> {
    return this.#call((client) => client.extend(request, callOptions(leaseTimeoutMs)));
  }

  settle(request: MessageInitShape<typeof SettleRequestSchema>): Promise<unknown> {
    return this.#call((client) => client.settle(request, callOptions(tellTimeoutMs)));
  }

  release(requestId: string): Promise<unknown> {
    return this.#call((client) => client.release({ requestId }, callOptions(tellTimeoutMs)));
  }

  returnLease(request: MessageInitShape<typeof ReturnLeaseRequestSchema>): Promise<unknown> {
    return this.#call((client) => client.returnLease(request, callOptions(tellTimeoutMs)));
  }

  async #call<T>(run: (client: QuotaClient) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const signs = this.#signs;
      try {
        const answer = await run(this.#options.client);
        this.#succeeded();
        return answer;
      } catch (thrown) {
        const error = weirErrorFrom(thrown);
        if (errorsOfTheCall.has(error.reason)) throw error;
        const isSlow = error.reason === ErrorReason.DEADLINE_EXCEEDED && this.#isHeard();
        const isOld = !this.#away && this.#signs > signs;
        if (tries < triesMax && (isSlow || isOld)) continue;
        this.#failed(error);
        throw error;
      }
    }
  }

  #isHeard(): boolean {
    return !this.#away && !this.silent(this.#options.clock.monotonicMs());
  }

  #succeeded(): void {
    this.#signs += 1;
    if (!this.#away) return;
    this.#away = false;
    this.#options.back();
  }

  #failed(error: WeirError): void {
    this.#probeAtMs = this.#options.clock.monotonicMs() + probeMs;
    if (this.#away) return;
    this.#away = true;
    this.#options.away(error);
  }
}

/** Answers that say nothing of the store, but of what was asked. */
const errorsOfTheCall: ReadonlySet<ErrorReason> = new Set([ErrorReason.NOT_FOUND, ErrorReason.INVALID_ARGUMENT]);

function callOptions(timeoutMs: number) {
  return withCallOptions({ trusted: true, timeoutMs });
}
