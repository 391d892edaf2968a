import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { WeirError } from "./fail.ts";
import { limitKind } from "./limit-kind.ts";
import { type ErrorRow, errorRow } from "./table.ts";

/** An OpenAI-style error body. All four keys are always there: clients read them. */
export interface OpenAiErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

/** The body that tells of a failure, as OpenAI's API does. */
export function openaiErrorBody(error: WeirError): OpenAiErrorBody {
  const row = errorRow(error.reason);
  const code = row.openaiCode === "metadata" ? (error.facts["code"] ?? "invalid_value") : row.openaiCode;
  return { error: { message: error.rawMessage, type: typeOf(error, row), param: error.facts["param"] || null, code } };
}

/** Of a limit's refusal the type says what it counts. */
function typeOf({ reason, facts }: WeirError, row: ErrorRow): string {
  if (reason === ErrorReason.BUDGET_EXHAUSTED) return "insufficient_quota";
  if (reason === ErrorReason.RATE_LIMITED || reason === ErrorReason.EXCEEDS_LIMIT) return limitKind(facts["dimension"]);
  return row.openaiType;
}
