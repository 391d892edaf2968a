import { heard } from "../engine-text.ts";
import { credential, type Failure, failed, refusal } from "../failure.ts";
import { failureFromStatus, knownFailure } from "../grpc/status.ts";

const refused =
  /unexpected shape|unexpected datatype|expect(?:ed|s) .{0,200}inputs?|missing required input|must be (?:greater|less|at least|positive|between|1 when)|invalid|not supported|is not enabled|unsupported/i;
const restricted = /protocol is restricted|triton-grpc-protocol/i;

/** What an error's text means, when it is all that there is: an error inside a stream has no code. */
export function failureFromText(text: string): Failure {
  return recognise(text) ?? failed(text);
}

/** What the status of a call means. `text` is what came with it. */
export function failureFromTritonStatus(code: number, text: string): Failure {
  return failureFromStatus(code, text, recognise);
}

/** What Triton's own words mean. */
export function recognise(said: string): Failure | undefined {
  const text = heard(said);
  if (restricted.test(text)) return credential;
  const known = knownFailure(text);
  if (known) return known;
  return refused.test(text) ? refusal(text) : undefined;
}
