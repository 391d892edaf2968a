import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import { bit, type FeatureSet } from "../requirement.ts";

/** A model can't do what is asked of it. */
export function unsupported(param: string, feature: string, model: string): WeirError {
  return fail(ErrorReason.UNSUPPORTED, { param, feature, model });
}

/** Whether any of the replicas has the feature. */
export function anyHas(sets: readonly FeatureSet[], feature: Feature): boolean {
  return sets.some((set) => (set & bit(feature)) !== 0);
}
