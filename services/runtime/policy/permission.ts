import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";

/** Whether a principal holds a permission; "*" stands for every permission. */
export function permitted(principal: Principal, permission: string): boolean {
  return principal.permissions.includes(permission) || principal.permissions.includes("*");
}
