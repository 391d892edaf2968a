import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { GenerateRequest } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { WeirError } from "../runtime/errors/fail.ts";
import type { Fleet } from "./fleet/fleet.ts";
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
