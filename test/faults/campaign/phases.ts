import type { Event } from "../../../services/simulator/record.ts";
import type { Joined } from "./join.ts";

/** Where a request was when something died. */
export const phases = ["queued", "prefill", "streaming", "settling", "shipping"] as const;
export type Phase = (typeof phases)[number];

/** The moment of a fault. */
export interface Moment {
  readonly atMs: number;
  /** Requests whose end PostgreSQL had then. */
  readonly finals: ReadonlySet<string>;
}

/**
 * The phase of a request at a moment, from ground truth:
 *
 * - `queued`: it was admitted, as the ledger knows, and waited; no engine had heard of it.
 * - `prefill`: an engine had it, and had not produced a token.
 * - `streaming`: its engine produced tokens.
 * - `settling`: its engine had finished, and its client did not have the end of the answer.
 * - `shipping`: it was over for its client, and PostgreSQL did not have its end.
 *
 * Undefined: it had not begun, all was over, or it is not known which, such as between a client's leaving and its engine's
 * noticing, or between a dispatch and its arrival.
 */
export function phaseAt({ requestId, row, sight, traces }: Joined, { atMs, finals }: Moment): Phase | undefined {
  if (row === undefined || sight === undefined || row.admitMs > atMs || finals.has(requestId)) return undefined;
  const overForClient = sight.endedMs < atMs;
  const heard = traces.filter(({ at }) => (at.get("received") ?? Infinity) < atMs);
  const last = heard.at(-1);
  if (last === undefined) {
    if (overForClient) return "shipping";
    return row.attempts === 0 || row.queueMs > 0 ? "queued" : undefined;
  }
  const before = (event: Event) => (last.at.get(event) ?? Infinity) < atMs;
  const engineDone = before("finished") || before("cancelled") || before("failed");
  if (overForClient) return engineDone ? "shipping" : undefined;
  if (before("finished")) return "settling";
  if (engineDone) return undefined;
  return before("produced") ? "streaming" : "prefill";
}
