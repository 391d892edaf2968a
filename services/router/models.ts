import { create } from "@bufbuild/protobuf";
import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { type CallableModel, CallableModelSchema } from "../../gen/ts/weir/router/v1/model_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import { mayCall } from "../runtime/identity/allow.ts";
import type { Fleet, ModelEntry } from "./fleet/fleet.ts";

/**
 * The model that a caller means by a name. Undefined where there is none, where it is disabled and where the caller may
 * not call it: from outside the three look the same. A key may name the alias or the model behind it.
 */
export function findCallable(
  fleet: Pick<Fleet, "resolve">,
  principal: Principal,
  name: string,
): ModelEntry | undefined {
  const entry = fleet.resolve(name);
  if (entry === undefined || entry.model.disabled) return undefined;
  return mayCall(principal, name) || mayCall(principal, entry.model.id) ? entry : undefined;
}

/** The same, or why a request for it can't be begun: it may also be that nobody knows yet. */
export function entryFor(
  fleet: Pick<Fleet, "resolve" | "synced">,
  principal: Principal,
  name: string,
): ModelEntry | WeirError {
  if (!fleet.synced) {
    const facts = { service: "catalog", retry_after_ms: "1000" };
    return fail(ErrorReason.SERVICE_UNAVAILABLE, facts, { retryAfterMs: 1_000 });
  }
  return findCallable(fleet, principal, name) ?? fail(ErrorReason.MODEL_NOT_FOUND, { model: name });
}

/** Everything that a caller may call, in no order. */
export function listCallable(fleet: Pick<Fleet, "resolve" | "names">, principal: Principal): CallableModel[] {
  const list: CallableModel[] = [];
  for (const name of fleet.names()) {
    const entry = findCallable(fleet, principal, name);
    if (entry) list.push(callableModel(name, entry));
  }
  return list;
}

/** A model as a caller sees it, under the name that the caller used. */
export function callableModel(name: string, entry: ModelEntry): CallableModel {
  const { model } = entry;
  return create(CallableModelSchema, {
    id: name,
    ownedBy: model.ownedBy,
    contextLength: BigInt(contextOf(entry)),
    aliasOf: name === model.id ? "" : model.id,
    ...(model.createTime ? { createTime: model.createTime } : {}),
  });
}

/** The context that the model has wherever it is served, in tokens; 0: unknown. */
export function contextOf({ model, seats }: ModelEntry): number {
  let least = 0;
  for (const seat of seats) {
    const own = Number(seat.model.contextLength);
    if (own > 0 && (least === 0 || own < least)) least = own;
  }
  return least || Number(model.contextLength);
}
