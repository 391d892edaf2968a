import type { WeirError } from "./fail.ts";
import { errorRow } from "./table.ts";

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
  return { error: { message: error.rawMessage, type: row.openaiType, param: error.facts["param"] || null, code } };
}
