import { type DescField, getOption, hasOption, ScalarType } from "@bufbuild/protobuf";
import { type FieldRules, field as fieldOption } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";

// Bounded by their own definition: ten thousand years, and a list of the message's own fields.
const boundedTypes = new Set(["google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"]);

/**
 * What is wrong with the rule of a field that a caller fills, or undefined. A bool needs none, nor does a message, whose
 * fields are judged one by one. A text or a list needs an end. A number or an enum needs some rule; `= {}` says that
 * every value is good.
 */
export function fieldProblem(field: DescField): string | undefined {
  const rules = hasOption(field, fieldOption) ? getOption(field, fieldOption) : undefined;
  switch (field.fieldKind) {
    case "message":
      return foreignProblem(field.message.typeName);
    case "scalar":
      return scalarProblem(field.scalar, rules);
    case "enum":
      return rules?.type.case === "enum" ? undefined : "an enum without a rule (defined_only)";
    case "list":
      return listProblem(field, rules);
    case "map":
      return mapProblem(field, rules);
  }
}

function foreignProblem(typeName: string): string | undefined {
  if (!typeName.startsWith("google.protobuf.") || boundedTypes.has(typeName)) return undefined;
  return `${typeName} has no bound: write a message`;
}

function listProblem(field: DescField & { fieldKind: "list" }, rules: FieldRules | undefined): string | undefined {
  if (rules?.type.case !== "repeated" || rules.type.value.maxItems === 0n) return "a list without max_items";
  const items = rules.type.value.items;
  const problem = elementProblem(field.listKind, field, items);
  return problem === undefined ? undefined : `its items: ${problem}`;
}

function mapProblem(field: DescField & { fieldKind: "map" }, rules: FieldRules | undefined): string | undefined {
  if (rules?.type.case !== "map" || rules.type.value.maxPairs === 0n) return "a map without max_pairs";
  const { keys, values } = rules.type.value;
  const key = scalarProblem(field.mapKey, keys);
  if (key !== undefined) return `its keys: ${key}`;
  const value = elementProblem(field.mapKind, field, values);
  return value === undefined ? undefined : `its values: ${value}`;
}

function elementProblem(
  kind: "scalar" | "enum" | "message",
  field: DescField & { fieldKind: "list" | "map" },
  rules: FieldRules | undefined,
): string | undefined {
  if (kind === "message") return foreignProblem(field.message?.typeName ?? "");
  if (kind === "enum") return rules?.type.case === "enum" ? undefined : "an enum without a rule (defined_only)";
  return field.scalar === undefined ? undefined : scalarProblem(field.scalar, rules);
}

function scalarProblem(scalar: ScalarType, rules: FieldRules | undefined): string | undefined {
  if (scalar === ScalarType.BOOL) return undefined;
  if (rules === undefined || rules.type.case === undefined) return "no validation rule";
  const rule = rules.type;
  if (rule.case === "string") return textProblem(rule.value);
  if (rule.case === "bytes") return textProblem(rule.value);
  return undefined;
}

type TextRules = {
  readonly maxLen: bigint;
  readonly maxBytes?: bigint;
  readonly len: bigint;
  readonly lenBytes?: bigint;
  readonly pattern: string;
  readonly in: readonly unknown[];
  readonly const: unknown;
  readonly wellKnown: { readonly case?: string | undefined };
};

function textProblem(rules: TextRules): string | undefined {
  const bounds = [rules.maxLen, rules.maxBytes ?? 0n, rules.len, rules.lenBytes ?? 0n];
  if (bounds.some((bound) => bound > 0n)) return undefined;
  if (rules.in.length > 0 || rules.wellKnown.case !== undefined) return undefined;
  if (rules.pattern !== "" && hasEnd(rules.pattern)) return undefined;
  return "no max_len, max_bytes, or pattern with an end";
}

/** Whether a pattern matches texts up to some length only: it is anchored and repeats nothing without a bound. */
function hasEnd(pattern: string): boolean {
  if (!pattern.startsWith("^") || !pattern.endsWith("$")) return false;
  const bare = pattern.replaceAll(/\\./g, "x").replaceAll(/\[[^\]]*\]/g, "x");
  return !/[*+]|\{\d+,\}/.test(bare);
}
