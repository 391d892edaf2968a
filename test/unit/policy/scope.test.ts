import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { GetKeyRequestSchema } from "../../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { PrincipalSchema, Reach } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { ScopeKind } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";
import { WeirError } from "../../../services/runtime/errors/fail.ts";
import { namedOwner, resolveScope } from "../../../services/runtime/policy/scope.ts";

const { NONE, INSTALLATION, ORG, PROJECT } = ScopeKind;
const field = GetKeyRequestSchema.field.projectId;

const principalOf = (reach: Reach) => create(PrincipalSchema, { orgId: "own-org", projectId: "own-project", reach });

type Row = [reach: keyof typeof Reach, kind: keyof typeof ScopeKind, named: string, outcome: string];

const rows: Row[] = [
  ["PROJECT", "NONE", "", "NONE:"],
  ["PROJECT", "PROJECT", "", "PROJECT:own-project"],
  ["PROJECT", "PROJECT", "own-project", "PROJECT:own-project"],
  ["PROJECT", "PROJECT", "other", "NOT_FOUND project other"],
  ["PROJECT", "ORG", "", "NOT_FOUND organization own-org"],
  ["PROJECT", "ORG", "own-org", "NOT_FOUND organization own-org"],
  ["PROJECT", "INSTALLATION", "", "NOT_FOUND installation *"],
  ["UNSPECIFIED", "PROJECT", "", "PROJECT:own-project"],
  ["UNSPECIFIED", "PROJECT", "other", "NOT_FOUND project other"],
  ["ORG", "PROJECT", "", "PROJECT:own-project"],
  ["ORG", "PROJECT", "other", "PROJECT:other"],
  ["ORG", "ORG", "", "ORG:own-org"],
  ["ORG", "ORG", "own-org", "ORG:own-org"],
  ["ORG", "ORG", "other", "NOT_FOUND organization other"],
  ["ORG", "INSTALLATION", "", "NOT_FOUND installation *"],
  ["INSTALLATION", "NONE", "", "NONE:"],
  ["INSTALLATION", "PROJECT", "", "PROJECT:own-project"],
  ["INSTALLATION", "PROJECT", "other", "PROJECT:other"],
  ["INSTALLATION", "ORG", "", "ORG:own-org"],
  ["INSTALLATION", "ORG", "other", "ORG:other"],
  ["INSTALLATION", "INSTALLATION", "", "INSTALLATION:"],
];

function told(resolved: ReturnType<typeof resolveScope>): string {
  if (!(resolved instanceof WeirError)) {
    const kind = Object.entries(ScopeKind).find(([, value]) => value === resolved.kind)?.[0];
    return `${kind}:${resolved.id}`;
  }
  const reason = Object.entries(ErrorReason).find(([, value]) => value === resolved.reason)?.[0];
  return [reason, resolved.facts["resource"], resolved.facts["id"], resolved.facts["param"]].filter(Boolean).join(" ");
}

test.each(rows)("a key that reaches %s and calls for %s %j: %s", (reach, kind, named, outcome) => {
  expect(told(resolveScope(ScopeKind[kind], field, named, principalOf(Reach[reach])))).toBe(outcome);
});

test.each([
  [NONE, "", "NONE:"],
  [INSTALLATION, "", "INSTALLATION:"],
  [PROJECT, "p", "PROJECT:p"],
  [ORG, "o", "ORG:o"],
  [PROJECT, "", "INVALID_ARGUMENT project_id"],
] as const)("a process in its own name calls for %i %j: %s", (kind, named, outcome) => {
  expect(told(resolveScope(kind, field, named, undefined))).toBe(outcome);
});

test("a key without a project reaches no project by saying nothing", () => {
  const homeless = create(PrincipalSchema, { orgId: "o", reach: Reach.PROJECT });
  expect(told(resolveScope(PROJECT, undefined, "", homeless))).toBe("NOT_FOUND project");
});

test("the owner is read from the field that the contract names", () => {
  const request = create(GetKeyRequestSchema, { projectId: "p", keyId: "k" });
  expect(namedOwner(request, field)).toBe("p");
  expect(namedOwner(request, undefined)).toBe("");
});
