import { covers, type FeatureSet, requiredOf } from "../requirement.ts";
import { weight } from "./rendezvous.ts";

/** A model at a replica, as the picker sees it. */
export interface Candidate {
  /** What the model can do there. */
  readonly features: FeatureSet;
  /** The replica answers and has the model loaded. */
  readonly ready: boolean;
  /** Its answers of late were bad. */
  readonly ejected: boolean;
  /** Requests of ours there now. */
  readonly inFlight: number;
  /** Requests of ours that it may have. */
  readonly places: number;
  /** How busy it is: requests of ours and of others, running and waiting. */
  readonly score: number;
  /** The replica, by which a request knows what it has tried. */
  readonly replica: object;
  /** Of the replica's id, for affinity. */
  readonly hash: number;
}

/** What is asked for. */
export interface Wanted {
  readonly needed: FeatureSet;
  /** Replicas that this request shall not meet again. */
  readonly tried: readonly object[];
  /** Hash of what requests have in common that should meet in one place; 0: nothing. */
  readonly affinity: number;
}

/** Why there is no pick. */
export type None =
  /** No replica that is known has the features. */
  | "unsupported"
  /** Those that have them are down, or were tried, or none is known. */
  | "closed"
  /** Every open one has all the requests that it may have. */
  | "busy";

/**
 * A replica with cached prefixes is worth waiting behind this many requests more than at the least busy one: about what
 * a prefill costs in decode steps of a small batch.
 */
const affinityMargin = 4;

/**
 * Filter, score, pick. The least busy replica that can serve the request and has a place; between equals chance
 * decides. One that enforces the form of an answer is preferred to those that do not. With an affinity it is the one that the affinity belongs to, while that is not much busier. Ejected replicas
 * are passed over unless all are ejected: bad is better than none.
 *
 * @param chance from 0 to 1.
 */
export function pick<C extends Candidate>(candidates: readonly C[], wanted: Wanted, chance: () => number): C | None {
  const needed = requiredOf(wanted.needed, candidates);
  const found = best(candidates, needed, wanted, chance, false);
  return found === "closed" ? best(candidates, needed, wanted, chance, true) : found;
}

function best<C extends Candidate>(
  candidates: readonly C[],
  needed: FeatureSet,
  { tried, affinity }: Wanted,
  chance: () => number,
  withEjected: boolean,
): C | None {
  let none: None = candidates.length > 0 ? "unsupported" : "closed";
  let least: C | undefined;
  let equals = 0;
  let home: C | undefined;
  let homeWeight = -1;
  for (const candidate of candidates) {
    if (!covers(candidate.features, needed)) continue;
    if (none === "unsupported") none = "closed";
    if (!candidate.ready || (candidate.ejected && !withEjected) || tried.includes(candidate.replica)) continue;
    none = "busy";
    if (candidate.inFlight >= candidate.places) continue;
    if (least === undefined || candidate.score < least.score) {
      least = candidate;
      equals = 1;
    } else if (candidate.score === least.score) {
      equals += 1;
      if (chance() * equals < 1) least = candidate;
    }
    if (affinity !== 0) {
      const own = weight(affinity, candidate.hash);
      if (own > homeWeight) {
        home = candidate;
        homeWeight = own;
      }
    }
  }
  if (least === undefined) return none;
  return home !== undefined && home.score <= least.score + affinityMargin ? home : least;
}
