import { type DescField, type DescMethod, getOption, hasOption, ScalarType } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import {
  Audience,
  method as methodOption,
  MethodPolicySchema,
  ScopeKind,
} from "../../../gen/ts/weir/policy/v1/policy_pb.ts";

/** What a contract says of a method, as the gate enforces it. */
export interface MethodPolicy {
  /** The listener that serves it. */
  readonly audience: Audience;
  /** What the caller must hold; empty: nothing, which only mesh methods may say. */
  readonly permission: string;
  readonly scopeKind: ScopeKind;
  /** The request's member with the owner's id; undefined: the caller's own. */
  readonly scopeField: DescField | undefined;
  /** The longest that one call may take, in milliseconds. */
  readonly deadlineMs: number;
  /** Whether a call leaves a line in the audit log. */
  readonly audit: boolean;
}

const validator = createValidator();

/**
 * Reads a method's policy from its contract, once, when the method is registered.
 *
 * @returns undefined if the contract declares none: nobody may call the method.
 * @throws Error if it declares one that makes no sense, so that the process does not start with it.
 */
export function methodPolicy(method: DescMethod): MethodPolicy | undefined {
  if (!hasOption(method, methodOption)) return undefined;
  const option = getOption(method, methodOption);
  const outcome = validator.validate(MethodPolicySchema, option);
  if (outcome.kind !== "valid") throw broken(method, outcome.error.message);
  if (!option.permission && option.audience !== Audience.MESH) throw broken(method, "it names no permission");
  const { scope, deadline } = option;
  const deadlineMs = Number(deadline?.seconds ?? 0n) * 1000 + (deadline?.nanos ?? 0) / 1e6;
  if (deadlineMs <= 0) throw broken(method, "its deadline is not above 0");
  return {
    audience: option.audience,
    permission: option.permission,
    scopeKind: scope?.kind ?? ScopeKind.UNSPECIFIED,
    scopeField: scope?.field ? scopeField(method, scope.field) : undefined,
    deadlineMs,
    audit: option.audit,
  };
}

function scopeField(method: DescMethod, name: string): DescField {
  const field = method.input.fields.find((candidate) => candidate.name === name);
  if (field?.fieldKind !== "scalar" || field.scalar !== ScalarType.STRING) {
    throw broken(method, `its request has no text field ${name}`);
  }
  return field;
}

function broken(method: DescMethod, problem: string): Error {
  return new Error(`${method.parent.typeName}.${method.name} declares a policy that cannot be enforced: ${problem}`);
}
