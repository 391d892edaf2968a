import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { identityFields } from "./usage-bytes.ts";
import type { OperationName } from "./usage-facts.ts";

/** Models that are remembered of a key: few keys use more. */
const modelsMax = 64;

interface Known {
  readonly model: string;
  readonly fields: Uint8Array;
}

/** Remembers, for as long as a principal is cached, the fields of its requests' records that are always the same. */
export class Identities {
  readonly #known = new WeakMap<Principal, Map<string, Known>>();

  /** The fields for a request of a principal. */
  of(principal: Principal, requestedModel: string, model: string, operation: OperationName): Uint8Array {
    // No model's name has a space.
    const key = operation === "generate" ? requestedModel : `${operation} ${requestedModel}`;
    let models = this.#known.get(principal);
    const found = models?.get(key);
    // An alias may mean another model by now, and a fallback may have answered.
    if (found?.model === model) return found.fields;
    if (models === undefined || models.size >= modelsMax) {
      models = new Map();
      this.#known.set(principal, models);
    }
    const fields = identityFields(principal, requestedModel, model, operation);
    models.set(key, { model, fields });
    return fields;
  }
}
