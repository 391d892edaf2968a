import type { DescMessage, Message } from "@bufbuild/protobuf";
import { pathToString } from "@bufbuild/protobuf/reflect";
import { createValidator, type Violation } from "@bufbuild/protovalidate";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../errors/fail.ts";

const validator = createValidator();

/** The problems that one answer tells at most: a list of 100,000 bad items is one mistake of the caller's. */
const problemsMax = 16;

/** Error codes by the rule that was broken; any other rule is an "invalid_value". */
const codeByRule: Readonly<Record<string, string>> = {
  required: "missing_required_parameter",
  "string.min_len": "string_below_min_length",
  "string.min_bytes": "string_below_min_length",
  "string.max_len": "string_above_max_length",
  "string.max_bytes": "string_above_max_length",
  "repeated.min_items": "array_below_min_length",
  "repeated.max_items": "array_above_max_length",
  "int32.gte": "integer_below_min_value",
  "int64.gte": "integer_below_min_value",
  "uint32.gte": "integer_below_min_value",
  "int32.lte": "integer_above_max_value",
  "int64.lte": "integer_above_max_value",
  "uint32.lte": "integer_above_max_value",
};

/**
 * Holds a message against the rules of its contract.
 *
 * @returns INVALID_ARGUMENT with the first violation's field and code, and all problems in its words; undefined if
 * there is none. INTERNAL if a rule itself is broken.
 */
export function violationOf(schema: DescMessage, message: Message): WeirError | undefined {
  const outcome = validator.validate(schema, message);
  if (outcome.kind === "valid") return undefined;
  if (outcome.kind === "error") return fail(ErrorReason.INTERNAL, {}, { cause: outcome.error });
  const [first, ...others] = outcome.violations;
  if (first === undefined) return undefined;
  const problems = [first.message, ...others.slice(0, problemsMax - 1).map(told)];
  if (others.length >= problemsMax) problems.push(`and ${others.length - problemsMax + 1} more`);
  return fail(ErrorReason.INVALID_ARGUMENT, {
    param: pathToString(first.field),
    code: codeByRule[first.ruleId] ?? "invalid_value",
    problem: problems.join("; "),
  });
}

function told(violation: Violation): string {
  return `\`${pathToString(violation.field)}\`: ${violation.message}`;
}
