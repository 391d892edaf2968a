import { heard } from "../engine-text.ts";
import type { Failure } from "../failure.ts";
import { failureFromStatus } from "../grpc/status.ts";

/** The front end names requests by our id, which says nothing to a caller. */
const naming = /text request (?:stream )?`[^`]*`/g;

/** What the status of a call means. */
export function failureFromVllmStatus(code: number, text: string): Failure {
  return failureFromStatus(code, heard(text).replace(naming, "the request"));
}
