import type { Message } from "@bufbuild/protobuf";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, WeirError } from "../errors/fail.ts";
import { namedOwner, resolveScope } from "../policy/scope.ts";
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

/** The contract has the method, and nobody serves it in this form. */
export function unknownMethod(call: RunningCall): WeirError {
  return fail(ErrorReason.UNKNOWN_METHOD, { method: call.entry.name });
}
