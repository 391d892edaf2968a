import { status as grpcStatus } from "@grpc/grpc-js";
import { heard } from "../engine-text.ts";
import { contextFailure, type Failure, failed, refusal } from "../failure.ts";
import { failureFromStatus, knownFailure } from "../grpc/status.ts";

const tooLong =
  /input tokens \((\d+)\) plus prefix length \(\d+\)(?: plus min_new_tokens \((\d+)\))? must be <=? (\d+)/;
/** How Python's gRPC reports what a handler did not catch: always UNKNOWN. */
const exception = /^Unexpected <class '([\w.]+)'>: ([\s\S]*)$/;
/** Exceptions that a request is to blame for: the same request fails everywhere. */
const ofTheRequest = /(?:Value|Validation|NotImplemented)Error$/;

/** What the status of a call means. */
export function failureFromTgisStatus(code: number, told: string): Failure {
  const text = heard(told);
  const [, name = "", said = ""] = (code === grpcStatus.UNKNOWN && exception.exec(text)) || [];
  if (name === "") return failureFromStatus(code, text, recognise);
  return recognise(`${name}: ${said}`) ?? (ofTheRequest.test(name) ? refusal(said) : failed(said));
}

/** What the adapter's own words mean. */
export function recognise(said: string): Failure | undefined {
  const text = heard(said);
  const [, promptTokens, maxTokens = "", limit] = tooLong.exec(text) ?? [];
  if (promptTokens !== undefined && limit !== undefined) return contextFailure({ limit, promptTokens, maxTokens });
  return knownFailure(text);
}
