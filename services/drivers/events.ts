import type {
  CountSource,
  Delta,
  Finished,
  FinishReason,
  Started,
  ToolCallFragment,
  Usage,
} from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";

// Messages are made on the hot path, once a token: as literals with the prototype's fields, which `create` would set one
// by one through the descriptor at many times the cost.

/** The engine has taken the request, without these of its members. */
export function accepted(ignored: string[] = []): GenerateResponse {
  const value: Started = {
    $typeName: "weir.router.v1.Started",
    requestId: "",
    model: "",
    attempt: 0,
    maxTokens: 0n,
    ignored,
  };
  return { $typeName: "weir.router.v1.GenerateResponse", event: { case: "started", value } };
}

/** Wraps a delta. */
export function deltaEvent(value: Delta): GenerateResponse {
  return { $typeName: "weir.router.v1.GenerateResponse", event: { case: "delta", value } };
}

/** An empty delta of a choice: fill in what came. */
export function delta(choice: number, fragment: Delta["fragment"], tokens: number): Delta {
  return { $typeName: "weir.router.v1.Delta", choice, fragment, tokens, tokenIds: [], logprobs: [] };
}

/** Text of a choice, with the number of tokens that it holds (0: unknown). */
export function textDelta(choice: number, text: string, tokens: number): GenerateResponse {
  return deltaEvent(delta(choice, { case: "text", value: text }, tokens));
}

/** A part of a function call. */
export function toolCallDelta(
  choice: number,
  fragment: Omit<ToolCallFragment, "$typeName">,
  tokens: number,
): GenerateResponse {
  const value: ToolCallFragment = { $typeName: "weir.router.v1.ToolCallFragment", ...fragment };
  return deltaEvent(delta(choice, { case: "toolCall", value }, tokens));
}

/** A choice is complete. */
export function finished(choice: number, reason: FinishReason, stopSequence = ""): GenerateResponse {
  const value: Finished = { $typeName: "weir.router.v1.Finished", choice, reason, stopSequence };
  return { $typeName: "weir.router.v1.GenerateResponse", event: { case: "finished", value } };
}

/** Counts, with where they come from. */
export interface Counts {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens?: number;
  readonly reasoningTokens?: number;
  readonly promptSource: CountSource;
  readonly completionSource: CountSource;
}

/** What was counted. */
export function usageEvent(counts: Counts): GenerateResponse {
  return { $typeName: "weir.router.v1.GenerateResponse", event: { case: "usage", value: usageOf(counts) } };
}

/** Counts as the contract tells them. */
export function usageOf(counts: Counts): Usage {
  return {
    $typeName: "weir.router.v1.Usage",
    promptTokens: BigInt(counts.promptTokens),
    completionTokens: BigInt(counts.completionTokens),
    cachedTokens: BigInt(counts.cachedTokens ?? 0),
    reasoningTokens: BigInt(counts.reasoningTokens ?? 0),
    promptSource: counts.promptSource,
    completionSource: counts.completionSource,
  };
}
