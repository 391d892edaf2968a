import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Counts } from "../drivers/events.ts";
import type { Clock } from "../runtime/clock.ts";
import type { WeirError } from "../runtime/errors/fail.ts";
import { reasonName } from "../runtime/errors/reason-name.ts";
import type { TryRecord } from "./attempt-log.ts";
import { blamesReplica, brokeOff, isDeath, looksLikeCrash, mayTryAnother } from "./failover.ts";
import type { Content } from "./quarantine/content.ts";
import { Examination, type Examined } from "./quarantine/examination.ts";
import type { Quarantine } from "./quarantine/quarantine.ts";
import { afterFailure, afterSuccess } from "./fleet/ejection.ts";
import type { Seat } from "./fleet/seat.ts";
import type { Grant } from "./quota/grant.ts";
import type { Try } from "./try.ts";
import type { RequestUsage } from "./usage/request-usage.ts";

/** A try, as far as it is judged. */
export type Tried = Pick<Try, "meter" | "accepted" | "dispatched" | "lingering" | "cancel">;

/** What tries are judged with. */
export interface TriesDeps {
  readonly clock: Clock;
  /** Tries of one request, the first among them. */
  readonly attemptsMax: number;
  /** A replica gets no requests for a while. */
  readonly ejected: (replicaId: string, error: WeirError) => void;
  /** What engines went away with. */
  readonly quarantine: Pick<Quarantine, "died" | "answered" | "examine" | "refusal">;
}

/**
 * The tries of one request: where they were, how they went, what they say of the replicas, and whether another may follow.
 * One runs at a time. The ledger is told of each when it is over.
 */
export class Tries {
  /** The replicas where it was tried, in order. */
  readonly replicas: Seat["replica"][] = [];
  /** Those that are over. */
  readonly records: TryRecord[] = [];
  /** Why the newest failed one did. */
  lastError: WeirError | undefined;
  /** Told of each that is over; undefined before the request is admitted. */
  usage: RequestUsage | undefined;
  /** What the request asks for; undefined before its model is known. */
  content: Content | undefined;
  readonly #deps: TriesDeps;
  #seat: Seat | undefined;
  #newest: Tried | undefined;
  #startMs = 0;
  #crashes = 0;
  #examination: Examination | undefined;

  constructor(deps: TriesDeps) {
    this.#deps = deps;
  }

  /**
   * Asks whether a replica may hear of the request.
   *
   * @param replica where it has a place; undefined: it has just come in.
   * @param examined hears of it later, where that is not known now.
   * @returns undefined: it may. An error: it may not. "held": it is held back, until `examined` hears.
   */
  examine(replica: Seat["replica"] | undefined, examined: Examined): WeirError | "held" | undefined {
    const found = this.#examined(replica?.standing.poolId, examined);
    if (found === undefined && replica) this.#examination?.runs(replica.id);
    return found;
  }

  /** The request has ended: so has its turn under watch, but where an engine that could not be stopped still has it. */
  over(): void {
    const examination = this.#examination;
    const lingering = this.#newest?.lingering;
    if (lingering) void lingering.then(() => examination?.leave());
    else examination?.leave();
  }

  /** One is about to be dispatched. */
  begin(seat: Seat, one: Tried): void {
    this.replicas.push(seat.replica);
    this.#seat = seat;
    this.#newest = one;
    this.#startMs = this.#deps.clock.monotonicMs();
  }

  /** The running one gave a whole answer. */
  ended(counts: Counts): void {
    const { content } = this;
    const seat = this.#seat;
    // What the gateway answered itself says nothing of the replica.
    if (seat && this.#newest?.dispatched) {
      const { standing } = seat.replica;
      standing.judge(afterSuccess(standing.health));
      // A fallback's answer says nothing of what the model's own engines do with it.
      if (content?.modelId === seat.model.modelId) this.#deps.quarantine.answered(content);
    }
    this.#record(undefined, counts, true);
  }

  /**
   * The running one failed.
   *
   * @param committed a piece of the answer was passed on.
   * @returns what the request ends with; undefined: another may follow.
   */
  failed({ dispatched, meter, lingering }: Tried, error: WeirError, committed: boolean): WeirError | undefined {
    this.lastError = error;
    // No engine has heard of it: nothing was tried, and another replica would fare no better.
    if (!dispatched) {
      this.usage?.notDispatched();
      return error;
    }
    this.#judge(error);
    // An answer of another form than was asked for was generated as asked.
    this.#record(error.reason, meter.counts(), committed || error.reason === ErrorReason.ANSWER_MISMATCH);
    const crashed = looksLikeCrash(error) && this.#crashed(error);
    if (brokeOff(error)) this.#brokeOff();
    const attempts = this.replicas.length;
    const another = mayTryAnother(error, {
      attempts,
      attemptsMax: this.#deps.attemptsMax,
      committed,
      crashes: this.#crashes,
    });
    if (!another) return (crashed && this.content && this.#deps.quarantine.refusal(this.content)) || error;
    if (lingering) {
      // The turn stays with the engine that could not be stopped; the next try takes its own.
      this.over();
      this.#examination = undefined;
    }
    this.#newest = undefined;
    return undefined;
  }

  /** Stops the one that runs, if one does. */
  stop(reason: WeirError): void {
    const one = this.#newest;
    if (!one) return;
    one.cancel(reason);
    if (!one.dispatched) return this.usage?.notDispatched();
    this.#brokeOff();
    this.#record(reason.reason, one.meter.counts(), true);
  }

  /** Tells the limits what they used together. What no engine ever heard of counts for nothing. */
  settle(grant: Grant): void {
    if (this.records.length === 0) return grant.release();
    const { promptTokens = 0, completionTokens = 0 } = this.usage?.counts ?? {};
    grant.settle({ inputTokens: promptTokens, outputTokens: completionTokens });
  }

  /** Tokens of the answer that came in the running one. */
  get received(): number {
    return this.#newest?.meter.received ?? 0;
  }

  /** The engine of the running one could not be stopped: resolves when it has ended. */
  get lingering(): Promise<void> | undefined {
    return this.#newest?.lingering;
  }

  /** What was received in the try that counts; undefined: no engine has taken the request. */
  counts(): Counts | undefined {
    return this.#newest?.accepted ? this.#newest.meter.counts() : undefined;
  }

  #examined(poolId: string | undefined, examined: Examined): WeirError | "held" | undefined {
    const { content } = this;
    if (!content) return undefined;
    const { quarantine } = this.#deps;
    if (this.#isWatchedIn(poolId)) return quarantine.refusal(content);
    // It goes on in another pool, without what it held.
    this.#examination?.leave();
    const found = quarantine.examine(content, poolId, examined);
    if (!(found instanceof Examination)) return found;
    this.#examination = found;
    return found.phase === "watched" ? undefined : "held";
  }

  #isWatchedIn(poolId: string | undefined): boolean {
    return this.#examination?.phase === "watched" && this.#examination.poolId === poolId;
  }

  /** The replica went away. False: it had been taken out of the catalogue, and the request need not have to do with it. */
  #crashed(error: WeirError): boolean {
    const replica = this.#seat?.replica;
    if (!replica || replica.leaving) return false;
    const { content } = this;
    const isWatched = this.#isWatchedIn(replica.standing.poolId);
    const isKnown = content && isDeath(error);
    const dying = { id: replica.id, score: replica.score + this.#justLeft(replica) };
    const alike = isKnown ? this.#deps.quarantine.died(content, dying, this.#startMs, isWatched) : 0;
    this.#crashes = Math.max(this.#crashes + 1, alike);
    return true;
  }

  /** Requests that were there beside it, and had ended without a whole answer when the replica went away: it may be theirs. */
  #justLeft({ standing }: Seat["replica"]): number {
    return standing.brokeOffMs >= this.#startMs ? 1 : 0;
  }

  #brokeOff(): void {
    const standing = this.#seat?.replica.standing;
    if (standing) standing.brokeOffMs = this.#deps.clock.monotonicMs();
  }

  /** What the failure says of the replica. */
  #judge(error: WeirError): void {
    const replica = this.#seat?.replica;
    if (!replica) return;
    const { standing } = replica;
    const wasEjected = standing.ejected;
    const before = standing.health;
    standing.judge(blamesReplica(error) ? afterFailure(before, this.#deps.clock.monotonicMs()) : afterSuccess(before));
    if (standing.ejected && !wasEjected) this.#deps.ejected(replica.id, error);
  }

  /** One is over, for this reason or well. What it received is billed, or waste. */
  #record(reason: ErrorReason | undefined, counts: Counts, billed: boolean): void {
    const seat = this.#seat;
    if (!seat) return;
    this.usage?.tryOver(counts, reason ?? ErrorReason.UNSPECIFIED, billed);
    const outcome = reason === undefined ? "ok" : reasonName(reason);
    const ms = Math.round(this.#deps.clock.monotonicMs() - this.#startMs);
    this.records.push({ replica: seat.replica.id, model: seat.model.modelId, outcome, ms });
  }
}
