import type { Logger } from "pino";
import { reasonName } from "../runtime/errors/reason-name.ts";
import type { ProbeOutcome } from "./prober.ts";

/**
 * Tells an operator of replicas that do not answer, or not as engines do, and of those that are back: once for each
 * change, however often they are asked.
 */
export function createHealthLog(log: Logger): (outcome: ProbeOutcome) => void {
  const problems = new Map<string, string>();
  return (outcome) => {
    const { id, poolId, url } = outcome.replica;
    const before = problems.get(id);
    if (outcome.kind === "answered") {
      if (before !== undefined) log.info({ replica: id, pool: poolId }, "a replica answers again");
      problems.delete(id);
      return;
    }
    const { reason, facts, cause } = outcome.error;
    const problem = [reasonName(reason), facts["problem"]].filter((text) => text !== undefined).join(": ");
    if (problem === before) return;
    problems.set(id, problem);
    log.warn(
      { replica: id, pool: poolId, url, problem, err: cause },
      "a replica does not answer: check its address and dialect, and whether the engine runs",
    );
  };
}
