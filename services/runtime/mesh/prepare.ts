import type { Message } from "@bufbuild/protobuf";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, WeirError } from "../errors/fail.ts";
import type { ProjectOwners } from "../identity/project-owners.ts";
import { confirmed, isForeign, namedOwner, resolveScope } from "../policy/scope.ts";
import { violationOf } from "../policy/validation.ts";
import type { RunningCall } from "./running-call.ts";

/** What a request decides before its handler runs: resolves the scope into the call, and validates. */
export function prepare(call: RunningCall, request: Message): WeirError | undefined {
  const { policy } = call;
  const named = namedOwner(request, policy.scopeField);
  const scope = resolveScope(policy.scopeKind, policy.scopeField, named, call.principal);
  if (scope instanceof WeirError) return scope;
  call.scope = scope;
  return call.origin.trusted ? undefined : violationOf(call.method.input, request);
}

/**
 * Asks whose project it is that the caller names, where it is not its own: nothing to wait for otherwise. Resolves to
 * the refusal, if the caller does not reach it.
 */
export function confirmOwner(call: RunningCall, owners: ProjectOwners): Promise<WeirError | undefined> | undefined {
  const { principal, scope } = call;
  if (!isForeign(scope, principal)) return undefined;
  return owners.orgOf(scope.id).then((orgId) => {
    const found = confirmed(scope, orgId, principal);
    if (found instanceof WeirError) return found;
    call.scope = found;
    return undefined;
  });
}

/** The contract has the method, and nobody serves it in this form. */
export function unknownMethod(call: RunningCall): WeirError {
  return fail(ErrorReason.UNKNOWN_METHOD, { method: call.entry.name });
}
