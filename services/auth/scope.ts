import { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { CallContext } from "../runtime/mesh/context.ts";
import type { Created, ProjectScope } from "./store.ts";

/**
 * The project that the runtime resolved for the call. Whether it belongs to the caller's organisation only the store
 * knows: it reads with the organisation as a condition.
 */
export function projectScope({ scope, principal }: CallContext): ProjectScope {
  const bound = principal !== undefined && principal.reach !== Reach.INSTALLATION;
  return { projectId: scope.id, orgId: bound ? principal.orgId : undefined };
}

/** What is not there, or not there for this caller. */
export function notFound(resource: "organization" | "project" | "key", id: string): WeirError {
  return fail(ErrorReason.NOT_FOUND, { resource, id });
}

/** The resource that a create made or had made; throws where there is none to return. */
export function createdOr<T>(
  outcome: Created<T>,
  names: { readonly requestId: string; readonly resource: string; readonly id: string; readonly parent: WeirError },
): T {
  switch (outcome.kind) {
    case "created":
    case "repeated":
      return outcome.resource;
    case "request_used":
      throw fail(ErrorReason.ALREADY_EXISTS, { request_id: names.requestId });
    case "id_taken":
      throw fail(ErrorReason.ALREADY_EXISTS, { resource: names.resource, id: names.id });
    case "no_parent":
      throw names.parent;
  }
}
