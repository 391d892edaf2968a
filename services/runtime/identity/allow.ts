import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";

/** Whether the key's allow-list names the model or alias. A key without a list may call none. */
export function mayCall(principal: Principal, model: string): boolean {
  return principal.models !== undefined && allows(principal.models, model);
}

/** Whether an allow-list covers a name. A `*` at the end of an entry stands for any ending, also an empty one. */
export function allows(list: { readonly all: boolean; readonly names: readonly string[] }, model: string): boolean {
  return list.all || list.names.some((entry) => covers(entry, model));
}

function covers(entry: string, model: string): boolean {
  return entry.endsWith("*") ? model.startsWith(entry.slice(0, -1)) : entry === model;
}
