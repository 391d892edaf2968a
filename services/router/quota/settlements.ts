import type { MessageInitShape } from "@bufbuild/protobuf";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { Operation } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { SettleRequestSchema } from "../../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { UsageRecord } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { type Clock, sleep, type Timer } from "../../runtime/clock.ts";
import { weirErrorFrom } from "../../runtime/errors/fail.ts";
import type { StoreLink } from "./store-link.ts";

export interface SettlementsOptions {
  readonly link: StoreLink;
  readonly clock: Clock;
  /** What a request used is not told: there is too much of it, or the store does not take it. */
  readonly lost: (requestId: string, error: unknown) => void;
}

/** What waits to be told is bounded: a minute of a busy node. What is beyond is in the usage records alone. */
const waitingMax = 100_000;
const retryFirstMs = 100;
const retryMostMs = 5_000;
/** Told at a time, when the store is back. */
const batchSize = 64;
/** A stop does not wait longer for a store that is away. */
const stopMs = 2_000;

interface Told {
  readonly requestId: string;
  readonly tell: () => Promise<unknown>;
}

/**
 * Tells the store how requests ended: at once, and again until it has heard it. Each may be told more than once, which
 * changes nothing.
 */
export class Settlements implements AsyncDisposable {
  readonly #options: SettlementsOptions;
  #waiting: Told[] = [];
  #inFlight = 0;
  #retryMs = retryFirstMs;
  #timer: Timer | undefined;
  #sendingAgain = false;
  /** The store came back while it was being told. */
  #againSoon = false;
  #idle: (() => void) | undefined;
  readonly #stop = new AbortController();

  constructor(options: SettlementsOptions) {
    this.#options = options;
  }

  /** Those that the store has not heard so far. */
  get pending(): number {
    return this.#inFlight + this.#waiting.length;
  }

  /** A request used this. */
  settle(request: MessageInitShape<typeof SettleRequestSchema>): void {
    this.#tell({ requestId: request.requestId ?? "", tell: () => this.#options.link.settle(request) });
  }

  /** A request used nothing. */
  release(requestId: string): void {
    this.#tell({ requestId, tell: () => this.#options.link.release(requestId) });
  }

  /**
   * A process before this one had a request, which used this, and may not have told it: it counts on what the store holds
   * for it, if anything. What leases had for it is told by their notes.
   */
  settleFormer({ requestId, orgId, projectId, keyId, userId, model, tokens, attempts }: UsageRecord): void {
    if (attempts.length === 0) return this.release(requestId);
    this.settle({
      requestId,
      used: { inputTokens: tokens?.promptTokens ?? 0n, outputTokens: tokens?.completionTokens ?? 0n },
      sequence: 1n,
      consumer: { orgId, projectId, keyId, userId },
      model,
      operation: Operation.GENERATE,
      reservedOnly: true,
    });
  }

  /** The store is back: what waits is told at once, or it would admit as if that had not been used. */
  again(): void {
    if (this.#sendingAgain) this.#againSoon = true;
    else if (this.#timer) {
      this.#timer.cancel();
      void this.#sendAgain();
    }
  }

  #tell(told: Told): void {
    if (this.#waiting.length > 0) this.#wait(told);
    else void this.#send(told);
  }

  async #send(told: Told): Promise<void> {
    this.#inFlight += 1;
    try {
      await told.tell();
      this.#retryMs = retryFirstMs;
    } catch (thrown) {
      const { reason } = weirErrorFrom(thrown);
      if (reason === ErrorReason.INVALID_ARGUMENT || reason === ErrorReason.NOT_FOUND)
        this.#options.lost(told.requestId, thrown);
      else this.#wait(told);
    }
    this.#inFlight -= 1;
    if (this.pending === 0) this.#idle?.();
  }

  #wait(told: Told): void {
    if (this.#waiting.length >= waitingMax) return this.#options.lost(told.requestId, undefined);
    this.#waiting.push(told);
    this.#timer ??= this.#options.clock.setTimer(this.#retryMs, () => void this.#sendAgain());
  }

  async #sendAgain(): Promise<void> {
    this.#sendingAgain = true;
    this.#againSoon = false;
    this.#retryMs = Math.min(retryMostMs, this.#retryMs * 2);
    const before = this.#waiting;
    this.#waiting = [];
    for (let at = 0; at < before.length; at += batchSize) {
      if (this.#waiting.length > 0) {
        // The first that fails says enough of the others.
        for (const told of before.slice(at)) this.#wait(told);
        break;
      }
      const batch = before.slice(at, at + batchSize);
      await Promise.all(batch.map((told) => this.#send(told)));
    }
    this.#timer = undefined;
    this.#sendingAgain = false;
    if (this.#waiting.length === 0 || this.#stop.signal.aborted) return;
    if (this.#againSoon) this.#retryMs = retryFirstMs;
    this.#timer = this.#options.clock.setTimer(this.#retryMs, () => void this.#sendAgain());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.pending > 0) {
      const idle = new Promise<void>((resolve) => (this.#idle = resolve));
      const patience = new AbortController();
      await Promise.race([idle, sleep(this.#options.clock, stopMs, patience.signal)]);
      patience.abort();
    }
    this.#stop.abort();
    this.#timer?.cancel();
  }
}
