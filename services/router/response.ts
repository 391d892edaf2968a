import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { type Failed, FinishReason, type Started } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { type Counts, finished, usageEvent, usageOf } from "../drivers/events.ts";
import type { RateLimits } from "./quota/grant.ts";
import { detailOf, type WeirError } from "../runtime/errors/fail.ts";

// Made for every request: as literals with the prototype's fields, which cost a fraction of `create`.

/** What is told when an engine has taken the request. */
export interface StartedFacts {
  readonly requestId: string;
  readonly model: string;
  /** When the request was admitted, in milliseconds since the epoch. */
  readonly admitMs: number;
  readonly attempt: number;
  readonly maxTokens: number;
  readonly ignored: string[];
  readonly limits: RateLimits;
}

/** An engine has taken the request. */
export function startedEvent(value: Started): GenerateResponse {
  return { $typeName: "weir.router.v1.GenerateResponse", event: { case: "started", value } };
}

/** What is told of a request that an engine has taken. */
export function startedOf(facts: StartedFacts): Started {
  const value: Started = {
    $typeName: "weir.router.v1.Started",
    requestId: facts.requestId,
    model: facts.model,
    createTime: timestampOf(facts.admitMs),
    attempt: facts.attempt,
    maxTokens: BigInt(facts.maxTokens),
    ignored: facts.ignored,
  };
  const { requests, tokens } = facts.limits;
  if (requests) value.requests = requests;
  if (tokens) value.tokens = tokens;
  return value;
}

function timestampOf(ms: number): Timestamp {
  const seconds = Math.floor(ms / 1_000);
  const nanos = Math.round((ms - seconds * 1_000) * 1_000_000);
  return { $typeName: "google.protobuf.Timestamp", seconds: BigInt(seconds), nanos };
}

/** A limit had no more for the answer: every choice that had not ended does, as if its length was reached. */
export function cutEvents(choices: readonly number[], counts: Counts | undefined): GenerateResponse[] {
  const ends = choices.map((choice) => finished(choice, FinishReason.LENGTH));
  return counts ? [...ends, usageEvent(counts)] : ends;
}

/** The generation failed after it had started. */
export function failedEvent(error: WeirError, counts: Counts | undefined): GenerateResponse {
  const value: Failed = { $typeName: "weir.router.v1.Failed", error: detailOf(error) };
  if (counts) value.usage = usageOf(counts);
  return { $typeName: "weir.router.v1.GenerateResponse", event: { case: "failed", value } };
}
