import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import type { Content } from "./content.ts";
import { Digests } from "./digests.ts";
import { Examination, type Examined } from "./examination.ts";
import { type Death, deathOf, type Dying } from "./suspect.ts";
import { Suspects } from "./suspects.ts";
import { Watch } from "./watch.ts";

/** Longer than clients and their queues try again by themselves, and an innocent request can bear it. */
export const quarantineMs = 10 * 60_000;

export interface QuarantineOptions {
  readonly clock: Clock;
  /** The longest wait of a suspect for its turn. */
  readonly queueTimeoutMs: number;
  /** Runs it once, in a later turn of the event loop: contents are read then. */
  readonly schedule: (run: () => void) => void;
}

/**
 * Which contents engines went away with, so that a request that kills engines does not go round them with each try of its
 * client, and what only ran beside it is not taken for it. A content is in one of these states:
 *
 * - **unknown**: no engine went away with it of late. Nothing is kept of it.
 * - **suspect**: one did. It is tried as ever. Requests with the same content that ran at that replica at the time died with
 *   it: that is one death. A second death: *refused* if both tell of it, else *watched*.
 * - **watched**: two did, and others ran beside it. It runs under watch, one suspect of a pool at a time. Its next death
 *   there tells of it, whatever else was there. Two that tell: *refused*.
 * - **refused**: by admission, and before a dispatch where it was admitted earlier.
 *
 * A death tells of a content that ran alone at the replica, or under watch. A whole answer to the same content:
 * *unknown*, from each state. 10 minutes after its newest death it is *unknown* again; so is the one whose newest death is
 * the longest ago, when too many are known.
 *
 * A death is noted at once, and what died is read in later turns. A request that looks like a suspect at a glance is held
 * back until it was read; others are not read at all.
 */
export class Quarantine {
  readonly #clock: Clock;
  readonly #digests: Digests;
  readonly #watch: Watch;
  readonly #suspects = new Suspects();
  /** The newest death of each replica, the latest last. */
  readonly #deaths = new Map<string, Death>();

  constructor({ clock, queueTimeoutMs, schedule }: QuarantineOptions) {
    this.#clock = clock;
    this.#digests = new Digests(schedule);
    this.#watch = new Watch({ clock, waitMaxMs: queueTimeoutMs, judge: (content) => this.#judge(content) });
  }

  /**
   * A replica went away with it.
   *
   * @param startMs when it was dispatched there, in monotonic milliseconds.
   * @param watched it ran under watch.
   * @returns how many have, as far as it was read: its own, at least.
   */
  died(content: Content, replica: Dying, startMs: number, watched: boolean): number {
    const nowMs = this.#clock.monotonicMs();
    this.#forgetOld(nowMs);
    const death = this.#deathAt(replica, startMs, nowMs);
    const suspect = this.#suspects.touch(content);
    suspect.forgetBefore(nowMs - quarantineMs);
    suspect.add(death, death.alone || watched);
    if (content.digest === undefined) this.#digests.add(content, () => this.#suspects.unite(content));
    return suspect.deaths.size;
  }

  /** It was answered whole: whatever took the engines down, it need not have been this. */
  answered(content: Content): void {
    this.#forget(content);
    // Others may have died of the same.
    if (content.digest === undefined && this.#suspects.resemblesAny(content))
      this.#digests.add(content, () => this.#forget(content));
  }

  /**
   * Asks whether an engine may hear of it.
   *
   * @param poolId where it is to run.
   * @param examined hears of it later, where that can't be told now.
   * @returns undefined: it may. An error: it may not. An examination that is *watched*: it may, and has to leave it when it
   * has ended. Any other one: `examined` will hear.
   */
  examine(content: Content, poolId: string, examined: Examined): WeirError | Examination | undefined {
    this.#forgetOld(this.#clock.monotonicMs());
    const examination = () => new Examination(content, poolId, examined, (left) => this.#watch.leave(left));
    if (this.#suspects.resembles(content)) {
      const reading = examination();
      this.#digests.add(content, () => this.#read(reading));
      return reading;
    }
    const judged = this.#judge(content);
    if (judged !== "watch") return judged;
    const watching = examination();
    this.#watch.enter(watching);
    return watching;
  }

  /** Why it gets no engine, as far as it was read; undefined: nothing is known against it. */
  refusal(content: Content): WeirError | undefined {
    const suspect = this.#suspects.find(content);
    if (!suspect?.refused) return undefined;
    return fail(ErrorReason.REQUEST_QUARANTINED, {
      model: content.model,
      crashes: String(suspect.deaths.size),
      for_ms: String(Math.ceil(suspect.newestMs + quarantineMs - this.#clock.monotonicMs())),
    });
  }

  #judge(content: Content): WeirError | "watch" | undefined {
    return this.refusal(content) ?? (this.#suspects.find(content)?.watched ? "watch" : undefined);
  }

  #read(reading: Examination): void {
    if (reading.phase !== "reading") return;
    this.#forgetOld(this.#clock.monotonicMs());
    const judged = this.#judge(reading.content);
    if (judged === "watch") {
      if (!this.#watch.enter(reading)) return;
    } else if (judged) return reading.bar(judged);
    reading.clear();
  }

  #forget(content: Content): void {
    const suspect = this.#suspects.find(content);
    if (suspect) this.#suspects.forget(suspect);
  }

  /** Who was there before it was heard of died then. */
  #deathAt(replica: Dying, startMs: number, nowMs: number): Death {
    const known = this.#deaths.get(replica.id);
    if (known && startMs <= known.atMs) return known;
    const death = deathOf(replica, nowMs);
    this.#deaths.delete(replica.id);
    this.#deaths.set(replica.id, death);
    return death;
  }

  #forgetOld(nowMs: number): void {
    this.#suspects.forgetBefore(nowMs - quarantineMs);
    for (const [replicaId, { atMs }] of this.#deaths) {
      if (atMs + quarantineMs > nowMs) return;
      this.#deaths.delete(replicaId);
    }
  }
}
