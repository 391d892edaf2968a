import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, WeirError } from "../../runtime/errors/fail.ts";

/** What a caller is told of a tokenizer that can't be used. */
export function tokenizerFailed(model: string, thrown: unknown): WeirError {
  if (thrown instanceof WeirError) return thrown;
  const problem = thrown instanceof Error ? thrown.message : "unknown";
  return fail(ErrorReason.TOKENIZER_FAILED, { model, problem }, { cause: thrown });
}
