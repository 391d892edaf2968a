import {
  type DescFile,
  type DescMessage,
  type DescMethod,
  type FileRegistry,
  getOption,
  hasOption,
  ScalarType,
} from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { createValidator } from "@bufbuild/protovalidate";
import {
  Audience,
  Idempotency,
  type MethodPolicy,
  MethodPolicySchema,
  method as methodOption,
  ScopeKind,
} from "../gen/ts/weir/policy/v1/policy_pb.ts";
import { fieldProblem } from "./field-rules.ts";

const validator = createValidator();

/** Files that are not ours: what we import, the engines' contracts, and gRPC's health and reflection. */
const foreign = /^(google|buf|engine|grpc\/health|grpc\/reflection)\//;

/** Messages that come from outside without being an RPC's request. */
const otherInbound = ["weir.config.v1.Config"];

/**
 * What the contracts of our own break, a sentence each, none if all is well: every method has a policy that holds
 * together, every field that a caller fills has a rule that bounds it, lists paginate, creates, reserves and leases can
 * be sent again, updates say what they change.
 */
export function contractProblems(registry: FileRegistry): string[] {
  const problems: string[] = [];
  const inbound = new Set<DescMessage>();
  for (const file of registry.files) {
    if (isForeign(file)) continue;
    for (const service of file.services) {
      for (const method of service.methods) {
        const where = `${service.typeName}.${method.name}`;
        problems.push(...policyProblems(method).map((problem) => `${where}: ${problem}`));
        problems.push(...shapeProblems(method).map((problem) => `${where}: ${problem}`));
        collectInbound(method.input, inbound);
      }
    }
  }
  for (const name of otherInbound) {
    const message = registry.getMessage(name);
    if (message !== undefined) collectInbound(message, inbound);
  }
  for (const message of inbound) {
    for (const field of message.fields) {
      const problem = fieldProblem(field);
      if (problem !== undefined) problems.push(`${message.typeName}.${field.name}: ${problem}`);
    }
  }
  return problems.sort();
}

function policyProblems(method: DescMethod): string[] {
  if (!hasOption(method, methodOption)) return ["has no (weir.policy.v1.method) option"];
  const policy = getOption(method, methodOption);
  const result = validator.validate(MethodPolicySchema, policy);
  if (result.kind === "error") return [`its policy can't be checked: ${result.error.message}`];
  if (result.kind === "invalid") return result.violations.map((violation) => `its policy: ${violation.toString()}`);
  return [...coherenceProblems(method, policy), ...scopeProblems(method, policy)];
}

function coherenceProblems(method: DescMethod, policy: MethodPolicy): string[] {
  const problems: string[] = [];
  const mesh = policy.audience === Audience.MESH;
  if (mesh && policy.permission !== "") problems.push("asks for a permission that no process of the mesh has");
  if (mesh && policy.scope?.kind !== ScopeKind.NONE)
    problems.push("has a scope, but processes of the mesh own nothing");
  if (!mesh && policy.permission === "") problems.push("has no permission, which only the mesh audience may do");
  const reads = policy.idempotency === Idempotency.READ;
  if (reads !== (method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS)) {
    problems.push("IDEMPOTENCY_READ and `idempotency_level = NO_SIDE_EFFECTS` go together");
  }
  return problems;
}

function scopeProblems(method: DescMethod, policy: MethodPolicy): string[] {
  const name = policy.scope?.field ?? "";
  if (name === "") return [];
  const field = method.input.fields.find((candidate) => candidate.name === name);
  if (field === undefined) return [`its scope names ${name}, which ${method.input.name} does not have`];
  if (field.fieldKind !== "scalar" || field.scalar !== ScalarType.STRING) {
    return [`its scope names ${name}, which is not a string`];
  }
  return [];
}

function shapeProblems(method: DescMethod): string[] {
  const missing = (message: DescMessage, names: readonly string[]): string[] =>
    names
      .filter((name) => !message.fields.some((field) => field.name === name))
      .map((name) => `${message.name} has no ${name}`);
  const verb = /^[A-Z][a-z]+/.exec(method.name)?.[0];
  switch (verb) {
    case "List":
      return [...missing(method.input, ["page_size", "page_token"]), ...missing(method.output, ["next_page_token"])];
    case "Create":
    case "Reserve":
    case "Lease":
      return missing(method.input, ["request_id"]);
    case "Update":
      return missing(method.input, ["update_mask"]);
    default:
      return [];
  }
}

function collectInbound(message: DescMessage, into: Set<DescMessage>): void {
  if (isForeign(message.file) || into.has(message)) return;
  into.add(message);
  for (const field of message.fields) {
    if (field.message !== undefined) collectInbound(field.message, into);
  }
}

/** Whether a contract is not ours, so that its rules are not ours either. */
export function isForeign(file: DescFile): boolean {
  return foreign.test(`${file.name}.proto`);
}
