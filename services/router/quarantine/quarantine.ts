import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import type { Content } from "./content.ts";
import { Digests } from "./digests.ts";
import { Examination, type Examined } from "./examination.ts";
import { type Death, deathOf, type Dying, type Suspect, tellsOf } from "./suspect.ts";
import { Suspects } from "./suspects.ts";
import { Watch } from "./watch.ts";

/** By then much of what waits to be read was. */
const retryAfterMs = 1_000;

/**
 * No engine is up again so soon: what breaks at it meanwhile breaks of the same death, which connections tell one by one.
 * Official clients wait for longer before they send again.
 */
const dyingMs = 250;

/** Longer than clients and their queues try again by themselves, and an innocent request can bear it. */
export const quarantineMs = 10 * 60_000;

export interface QuarantineOptions {
  readonly clock: Clock;
  /** The longest wait of a suspect for its turn. */
  readonly queueTimeoutMs: number;
  /** Runs it once, in a later turn of the event loop: contents are read then, and turns handed on. */
  readonly schedule: (run: () => void) => void;
}

/**
 * Which contents engines went away with, so that a request that kills engines does not go round them with each try of its
 * client, and what only ran beside it is not taken for it. A content is in one of these states:
 *
 * - **unknown**: no engine went away with it of late. Nothing is kept of it.
 * - **suspect**: one did. It is tried as ever. Requests with the same content that ran at that replica at the time died with
 *   it: that is one death. A second death: *refused* if both tell of it, else *watched*.
 * - **watched**: two did, and others ran beside it. It runs under watch, one suspect of a pool at a time, and for some time
 *   at the most while others wait. Its next death there tells of it, whatever else was there. Two that tell: *refused*.
 * - **refused**: by admission, and before a dispatch where it was admitted earlier.
 *
 * A death tells of a content that ran alone at the replica, or under watch, unless a suspect was there that has had its turn
 * and runs on. A whole answer to the same content: *unknown*, from each state. 10 minutes after its newest death it is
 * *unknown* again; so is the one whose newest death is the longest ago, when too many are known.
 *
 * A death is noted at once, and what died is read in later turns. A request that looks like a suspect at a glance is held
 * back until it was read; others are not read at all. So many may wait for that; the next is to come again, for a crowd of
 * contents that nobody has read must not be a way past the quarantine.
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
    const judge = (content: Content) => this.#judge(content);
    this.#watch = new Watch({ clock, waitMaxMs: queueTimeoutMs, judge, schedule });
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
    suspect.add(death, tellsOf(death, watched));
    if (content.digest === undefined) this.#digests.add(content, () => this.#suspects.unite(content));
    return suspect.deaths.size;
  }

  /** Its model answered it whole: whatever took the engines down, it need not have been this. */
  answered(content: Content): void {
    this.#forget(content);
    // Others may have died of the same, and not be read so far.
    if (this.#suspects.resembles(content)) this.#digests.add(content, () => this.#forget(content));
  }

  /**
   * Asks whether an engine may hear of it.
   *
   * @param poolId where a place is free for it; undefined: it has just come in, and is not to run so far.
   * @param examined hears of it later, where that can't be told now.
   * @returns undefined: it may. An error: it may not. An examination that is *watched*: it may, and has to leave it when it
   * has ended. Any other one: `examined` will hear; it has to ask again with its next place.
   */
  examine(content: Content, poolId: string | undefined, examined: Examined): WeirError | Examination | undefined {
    this.#forgetOld(this.#clock.monotonicMs());
    if (this.#suspects.resembles(content)) return this.#readFirst(content, examined);
    const judged = this.#judge(content);
    if (judged !== "watch") return judged;
    return poolId === undefined ? undefined : this.#watch.enter(content, poolId, examined);
  }

  /** Why it gets no engine, as far as it was read; undefined: nothing is known against it. */
  refusal(content: Content): WeirError | undefined {
    const suspect = this.#known(content);
    if (!suspect?.refused) return undefined;
    return fail(ErrorReason.REQUEST_QUARANTINED, {
      model: content.model,
      crashes: String(suspect.deaths.size),
      for_ms: String(Math.ceil(suspect.newestMs + quarantineMs - this.#clock.monotonicMs())),
    });
  }

  #judge(content: Content): WeirError | "watch" | undefined {
    return this.refusal(content) ?? (this.#known(content)?.watched ? "watch" : undefined);
  }

  #readFirst(content: Content, examined: Examined): WeirError | Examination {
    const full = this.#digests.full(content);
    if (full !== undefined) {
      const facts = { limit: String(full), retry_after_ms: String(retryAfterMs) };
      return fail(ErrorReason.OVERLOADED, facts, { retryAfterMs });
    }
    const read = (): void => {
      this.#forgetOld(this.#clock.monotonicMs());
      const refusal = this.refusal(content);
      if (refusal) reading.bar(refusal);
      else reading.clear();
    };
    const reading = new Examination(content, undefined, examined, { left: () => this.#digests.drop(content, read) });
    this.#digests.add(content, read);
    return reading;
  }

  /** One whose newest death was heard of late may be remembered for too long, behind those that died later. */
  #known(content: Content): Suspect | undefined {
    const suspect = this.#suspects.find(content);
    return suspect && suspect.newestMs > this.#clock.monotonicMs() - quarantineMs ? suspect : undefined;
  }

  #forget(content: Content): void {
    const suspect = this.#suspects.find(content);
    if (suspect) this.#suspects.forget(suspect);
  }

  /** Who was there before it was heard of, or came to it while it went, died then. */
  #deathAt(replica: Dying, startMs: number, nowMs: number): Death {
    const known = this.#deaths.get(replica.id);
    if (known && startMs <= known.atMs + dyingMs) return known;
    const death = deathOf(replica, nowMs, this.#watch.hasLate(replica.id));
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
