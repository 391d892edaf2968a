import { WeirError } from "../../runtime/errors/fail.ts";
import type { ModelEntry } from "../fleet/fleet.ts";
import { checkExtras } from "../members.ts";
import type { PoolPlan } from "../plan.ts";
import { unknownMember } from "../refused-members.ts";

/**
 * Holds members that the contract has no field for against the pool's rules.
 *
 * @param own members that the contract does have a field for, or that would change the form of the answer.
 */
export function planWithExtras(extrasJson: string, entry: ModelEntry, own: ReadonlySet<string>): PoolPlan | WeirError {
  const carried = checkExtras(extrasJson, entry.pool);
  if (carried instanceof WeirError) return carried;
  for (const name in carried.extras) {
    if (own.has(name)) return unknownMember(name, "is not open to callers, or has a field of its own in the contract");
  }
  return { entry, ...carried };
}
