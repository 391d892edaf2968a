import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { GenerateRequest } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { WeirError } from "../runtime/errors/fail.ts";
import type { Fleet } from "./fleet/fleet.ts";
import type { None } from "./fleet/picker.ts";
import type { Seat } from "./fleet/seat.ts";
import { findCallable } from "./models.ts";
import { type Plan, planFor } from "./plan.ts";

/** The plans for a request with the models that serve while its own can't, in order: those that the key may call itself. */
export function* fallbackPlans(
  fleet: Pick<Fleet, "resolve">,
  principal: Principal,
  request: GenerateRequest,
  modelIds: readonly string[],
): Generator<Plan> {
  for (const id of modelIds) {
    const entry = findCallable(fleet, principal, id);
    const plan = entry && planFor(request, entry);
    if (plan && !(plan instanceof WeirError)) yield plan;
  }
}

/** The first plan with a free place, which is taken; else the first that is open at all. */
export function firstOpen<P>(
  plans: Iterable<P>,
  take: (plan: P) => Seat | None,
): { readonly plan: P; readonly found: Seat | "busy" } | undefined {
  let busy: P | undefined;
  for (const plan of plans) {
    const found = take(plan);
    if (typeof found !== "string") return { plan, found };
    if (found === "busy") busy ??= plan;
  }
  return busy && { plan: busy, found: "busy" };
}
