import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import { crashesMax } from "../failover.ts";
import type { Content } from "./content.ts";

/** Longer than clients and their queues try again by themselves, and an innocent request can bear it. */
export const quarantineMs = 10 * 60_000;

/** An engine that dies takes some hundreds with it. One costs about 300 bytes. */
const suspectsMax = 4_096;

/** A replica that went away with a content. */
interface Death {
  readonly replicaId: string;
  /** When it was first heard of, in monotonic milliseconds. */
  readonly atMs: number;
}

/** The newest deaths last; of no more than it takes to be refused. */
interface Suspect {
  readonly scope: string;
  readonly deaths: readonly Death[];
}

/**
 * Which contents engines went away with, so that a request that kills engines does not go round them with each try of its
 * client. A content is in one of these states:
 *
 * - **unknown**: no engine went away with it of late. Nothing is kept of it.
 * - **suspect**: one did. It is tried as ever. Requests with the same content that ran at that replica at the time died with
 *   it: that is one death. A whole answer to the same content: *unknown*. A second death: *refused*.
 * - **refused**: by admission, and before a dispatch where it was admitted earlier. A whole answer, from a request that ran
 *   meanwhile: *unknown*.
 *
 * 10 minutes after its newest death it is *unknown* again; so is the one whose newest death is the longest ago, when too many are known.
 */
export class Quarantine {
  readonly #clock: Clock;
  /** By the content's key; the one whose newest death is the longest ago first. */
  readonly #suspects = new Map<string, Suspect>();
  /** How many are known of each project and model: only their requests are looked at. */
  readonly #known = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * A replica went away with it.
   *
   * @param startMs when it was dispatched there, in monotonic milliseconds.
   * @returns how many have.
   */
  crashed(content: Content, replicaId: string, startMs: number): number {
    const nowMs = this.#clock.monotonicMs();
    this.#forgetOld(nowMs);
    const before = this.#suspects.get(content.key)?.deaths ?? [];
    if (before.some((death) => death.replicaId === replicaId && startMs <= death.atMs)) return before.length;
    const deaths = [...before, { replicaId, atMs: nowMs }].slice(-crashesMax);
    this.#forget(content.key);
    this.#suspects.set(content.key, { scope: content.scope, deaths });
    this.#known.set(content.scope, (this.#known.get(content.scope) ?? 0) + 1);
    if (this.#suspects.size > suspectsMax) this.#forgetOldest();
    return deaths.length;
  }

  /** It was answered whole: whatever took the engines down, it need not have been this. */
  answered(content: Content): void {
    if (this.#known.has(content.scope)) this.#forget(content.key);
  }

  /** Why it gets no engine now; undefined: it may. */
  refusal(content: Content): WeirError | undefined {
    if (!this.#known.has(content.scope)) return undefined;
    const nowMs = this.#clock.monotonicMs();
    this.#forgetOld(nowMs);
    const deaths = this.#suspects.get(content.key)?.deaths ?? [];
    const newest = deaths.at(-1);
    if (!newest || deaths.length < crashesMax) return undefined;
    const forMs = Math.ceil(newest.atMs + quarantineMs - nowMs);
    return fail(ErrorReason.REQUEST_QUARANTINED, {
      model: content.model,
      crashes: String(crashesMax),
      for_ms: String(forMs),
    });
  }

  #forgetOld(nowMs: number): void {
    for (const [key, { deaths }] of this.#suspects) {
      const newest = deaths.at(-1);
      if (newest && newest.atMs + quarantineMs > nowMs) return;
      this.#forget(key);
    }
  }

  #forgetOldest(): void {
    for (const key of this.#suspects.keys()) return this.#forget(key);
  }

  #forget(key: string): void {
    const suspect = this.#suspects.get(key);
    if (!suspect) return;
    this.#suspects.delete(key);
    const left = (this.#known.get(suspect.scope) ?? 0) - 1;
    if (left > 0) this.#known.set(suspect.scope, left);
    else this.#known.delete(suspect.scope);
  }
}
