import type { DescField, Message } from "@bufbuild/protobuf";
import { type Principal, Reach } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { ScopeKind } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";
import { fail, type WeirError } from "../errors/fail.ts";
import type { ResolvedScope } from "../mesh/context.ts";

const none: ResolvedScope = Object.freeze({ kind: ScopeKind.NONE, id: "" });
const installation: ResolvedScope = Object.freeze({ kind: ScopeKind.INSTALLATION, id: "" });

/** The owner's id that a request names; empty: none. */
export function namedOwner(request: Message, field: DescField | undefined): string {
  if (field === undefined) return "";
  const value: unknown = Reflect.get(request, field.localName);
  return typeof value === "string" ? value : "";
}

/**
 * Resolves whose resource a call touches, and whether the caller reaches it. What it does not reach is NOT_FOUND: that
 * a tenant exists is not for others to know.
 *
 * A project that is named by a caller who reaches its whole organisation passes here: only the store knows whose
 * project it is, and reads with the caller's organisation as a condition.
 *
 * @param principal undefined for a process of the installation in its own name, which reaches everything.
 */
export function resolveScope(
  kind: ScopeKind,
  field: DescField | undefined,
  named: string,
  principal: Principal | undefined,
): ResolvedScope | WeirError {
  if (kind === ScopeKind.NONE) return none;
  if (principal === undefined) return scopeOfProcess(kind, field, named);
  const reach = principal.reach;
  if (reach === Reach.INSTALLATION) {
    if (kind === ScopeKind.INSTALLATION) return installation;
    return { kind, id: named || ownOf(kind, principal) };
  }
  if (kind === ScopeKind.INSTALLATION) return fail(ErrorReason.NOT_FOUND, { resource: "installation", id: "*" });
  const own = ownOf(kind, principal);
  const id = named || own;
  const reached =
    kind === ScopeKind.PROJECT
      ? id === own || reach === Reach.ORG
      : kind === ScopeKind.ORG && id === own && reach === Reach.ORG;
  if (reached && id) return { kind, id };
  return fail(ErrorReason.NOT_FOUND, { resource: kind === ScopeKind.PROJECT ? "project" : "organization", id });
}

function ownOf(kind: ScopeKind, principal: Principal): string {
  if (kind === ScopeKind.PROJECT) return principal.projectId;
  return kind === ScopeKind.ORG ? principal.orgId : "";
}

function scopeOfProcess(kind: ScopeKind, field: DescField | undefined, named: string): ResolvedScope | WeirError {
  if (kind === ScopeKind.INSTALLATION) return installation;
  if (named) return { kind, id: named };
  return fail(ErrorReason.INVALID_ARGUMENT, {
    param: field?.name ?? "principal",
    code: "missing_required_parameter",
    problem: "a process that calls in its own name has to say for whom",
  });
}
