import type { DescField, Message } from "@bufbuild/protobuf";
import { type Principal, Reach } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { ScopeKind } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";
import { fail, type WeirError } from "../errors/fail.ts";
import type { ResolvedScope } from "../mesh/context.ts";

const none: ResolvedScope = Object.freeze({ kind: ScopeKind.NONE, id: "", orgId: "" });
const installation: ResolvedScope = Object.freeze({ kind: ScopeKind.INSTALLATION, id: "", orgId: "" });

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
 * A project other than the caller's own that a caller with a wider reach names is left without its organisation: only
 * the auth service knows whose it is, and {@link confirmed} judges it by that.
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
    return withOrg(kind, named || ownOf(kind, principal), principal);
  }
  if (kind === ScopeKind.INSTALLATION) return fail(ErrorReason.NOT_FOUND, { resource: "installation", id: "*" });
  const own = ownOf(kind, principal);
  const id = named || own;
  const reached =
    kind === ScopeKind.PROJECT
      ? id === own || reach === Reach.ORG
      : kind === ScopeKind.ORG && id === own && reach === Reach.ORG;
  if (reached && id) return withOrg(kind, id, principal);
  return fail(ErrorReason.NOT_FOUND, { resource: kind === ScopeKind.PROJECT ? "project" : "organization", id });
}

/** The scope, with the organisation as far as it is known here. */
function withOrg(kind: ScopeKind, id: string, principal: Principal): ResolvedScope {
  if (kind === ScopeKind.PROJECT) return { kind, id, orgId: id === principal.projectId ? principal.orgId : "" };
  return { kind, id, orgId: id };
}

/** Whether only the auth service can tell whose the scope's project is. */
export function isForeign(scope: ResolvedScope, principal: Principal | undefined): principal is Principal {
  return principal !== undefined && scope.kind === ScopeKind.PROJECT && scope.id !== principal.projectId;
}

/** The scope of another project than the caller's own, when its organisation is known; undefined: there is none. */
export function confirmed(
  scope: ResolvedScope,
  orgId: string | undefined,
  principal: Principal,
): ResolvedScope | WeirError {
  const reached =
    principal.reach === Reach.INSTALLATION || (principal.reach === Reach.ORG && orgId === principal.orgId);
  if (orgId !== undefined && reached) return { ...scope, orgId };
  return fail(ErrorReason.NOT_FOUND, { resource: "project", id: scope.id });
}

function ownOf(kind: ScopeKind, principal: Principal): string {
  if (kind === ScopeKind.PROJECT) return principal.projectId;
  return kind === ScopeKind.ORG ? principal.orgId : "";
}

function scopeOfProcess(kind: ScopeKind, field: DescField | undefined, named: string): ResolvedScope | WeirError {
  if (kind === ScopeKind.INSTALLATION) return installation;
  if (named) return { kind, id: named, orgId: kind === ScopeKind.ORG ? named : "" };
  return fail(ErrorReason.INVALID_ARGUMENT, {
    param: field?.name ?? "principal",
    code: "missing_required_parameter",
    problem: "a process that calls in its own name has to say for whom",
  });
}
