import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { EndReason, UsageState } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { Counts } from "../../drivers/events.ts";
import type { Running } from "../journal/journal.ts";
import type { Segment } from "../journal/segment.ts";
import { writeUint32 } from "../journal/format.ts";
import { handleBytes } from "../journal/outbox.ts";
import type { Meter } from "../metering/meter.ts";
import { endReasonOf } from "./end-reason.ts";
import type { UsageJournal } from "./usage-journal.ts";
import { writeUsage } from "./usage-bytes.ts";
import type { AttemptFacts, OperationName, UsageFacts } from "./usage-facts.ts";
import type { WireWriter } from "./wire-writer.ts";

/** Whose request it is. */
export interface AdmittedRequest {
  readonly requestId: string;
  readonly principal: Principal;
  /** As the caller named it. */
  readonly requestedModel: string;
  readonly operation: OperationName;
}

/**
 * The usage record of one admitted request, on its way through the journal.
 *
 * Nothing is noted until it **waits** for a place or is **dispatched**: then a snapshot is, again for each further
 * dispatch, and each wait after a failed one, so that a process that dies leaves a record of it. While pieces come,
 * {@link progress} notes the counts. It **ends** once, with a final record, whether or not it was ever dispatched.
 *
 * Billed are the tokens of the try that the caller got pieces of, or could have: a try that its engine failed before any
 * piece was passed on is listed, and not billed.
 */
export class RequestUsage implements Running, UsageFacts {
  place = -1;
  readonly handle: number;
  readonly requestId: string;
  /** When it was admitted, on the wall clock: from then on the journal knows it, and holds back what it says to be told. */
  readonly admitMs: number;
  state: UsageState = UsageState.INTENT;
  sequence = 0;
  identity: Uint8Array;
  replicaId = "";
  firstTokenMs: number | undefined;
  durationMs: number | undefined;
  queuedMs = 0;
  counts: Counts | undefined;
  endReason: EndReason = EndReason.UNSPECIFIED;
  errorReason: ErrorReason = ErrorReason.UNSPECIFIED;
  readonly attempts: AttemptFacts[] = [];
  elapsedMs = 0;
  completionTokens = 0;
  home: Segment | undefined;
  reservedBytes = 0;
  progressIn: Segment | undefined;
  progressAt = 0;
  /** What the ledger was told last, and when on the monotonic clock. 0: nothing; below: what it may not have heard. */
  reportedSequence = 0;
  reportedMs = 0;
  /** The same moment on the monotonic clock. */
  readonly startMs: number;
  readonly #usage: UsageJournal;
  readonly #principal: Principal;
  readonly #requestedModel: string;
  readonly #operation: OperationName;
  #meter: Meter | undefined;
  #ended = false;

  constructor(usage: UsageJournal, handle: number, request: AdmittedRequest, model: string) {
    this.#usage = usage;
    this.handle = handle;
    this.requestId = request.requestId;
    this.#principal = request.principal;
    this.#requestedModel = request.requestedModel;
    this.#operation = request.operation;
    this.startMs = usage.clock.monotonicMs();
    this.admitMs = usage.clock.nowMs();
    this.identity = usage.identities.of(request.principal, request.requestedModel, model, request.operation);
  }

  get reasoningTokens(): number {
    return Math.ceil(this.#meter?.thought ?? 0);
  }

  get estimated(): boolean {
    return this.#meter?.estimated ?? false;
  }

  /** It waits for a place at a replica. */
  waits(): void {
    // The snapshot of a try that failed would bill it.
    if (this.home === undefined || this.attempts.length > 0) this.#snapshot(false);
  }

  /** A try is about to be dispatched. False: it must not be, because it can't be noted. */
  dispatches(replicaId: string, model: string, meter: Meter): boolean {
    const noted = this.home !== undefined;
    const dispatchMs = this.admitMs + this.#sinceAdmission();
    const { UNSPECIFIED } = ErrorReason;
    this.attempts.push({ replicaId, dispatchMs, durationMs: undefined, counts: undefined, reason: UNSPECIFIED });
    this.replicaId = replicaId;
    this.identity = this.#usage.identities.of(this.#principal, this.#requestedModel, model, this.#operation);
    this.#meter = meter;
    this.completionTokens = 0;
    if (this.#snapshot(false) || noted) return true;
    this.notDispatched();
    return false;
  }

  /** The newest try was not dispatched after all. */
  notDispatched(): void {
    this.attempts.pop();
    this.replicaId = this.attempts.at(-1)?.replicaId ?? "";
    this.#meter = undefined;
    this.counts = undefined;
  }

  /**
   * The newest try is over.
   *
   * @param reason why it gave no whole answer; UNSPECIFIED: it did.
   * @param billed false: it is waste.
   */
  tryOver(counts: Counts, reason: ErrorReason, billed: boolean): void {
    const last = this.attempts.at(-1);
    this.#meter = undefined;
    this.counts = billed ? counts : undefined;
    if (last === undefined) return;
    const durationMs = this.admitMs + this.#sinceAdmission() - last.dispatchMs;
    this.attempts[this.attempts.length - 1] = { ...last, durationMs, counts, reason };
  }

  /** Notes what was received, if anything was since it was noted last. */
  progress(): void {
    const received = this.#meter?.received ?? 0;
    if (received === this.completionTokens || this.home === undefined) return;
    this.completionTokens = received;
    this.elapsedMs = this.#sinceAdmission();
    this.sequence += 1;
    this.#usage.journal.progress(this);
  }

  /** It is over. */
  end(reason: ErrorReason | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.state = UsageState.FINAL;
    this.sequence += 1;
    this.durationMs = this.#sinceAdmission();
    this.endReason = endReasonOf(reason);
    if (this.endReason === EndReason.FAILED) this.errorReason = reason ?? ErrorReason.UNSPECIFIED;
    const { journal, writer } = this.#usage;
    const recordAt = this.#write(writer);
    journal.final(this, recordAt, writer.at);
  }

  carry(): void {
    this.#snapshot(true);
  }

  /** Writes what is to be told of it while it runs. */
  report(writer: WireWriter): void {
    this.state = this.sequence > 1 ? UsageState.PROGRESS : UsageState.INTENT;
    this.counts = this.#meter?.counts();
    writeUsage(writer, this);
  }

  #snapshot(carried: boolean): boolean {
    this.sequence += 1;
    this.state = this.sequence > 1 ? UsageState.PROGRESS : UsageState.INTENT;
    this.counts = this.#meter?.counts();
    const { journal, writer } = this.#usage;
    this.#write(writer);
    return journal.snapshot(this, writer.at, carried);
  }

  /** Writes the payload of a record into the journal's buffer. Returns where the UsageRecord begins in it. */
  #write(writer: WireWriter): number {
    const at = this.#usage.journal.begin();
    writeUint32(writer.buffer, at, this.handle);
    writer.at = at + handleBytes;
    writeUsage(writer, this);
    return at + handleBytes;
  }

  #sinceAdmission(): number {
    return this.#usage.clock.monotonicMs() - this.startMs;
  }
}
