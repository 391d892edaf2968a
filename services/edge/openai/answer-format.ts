import { type Delta, type Finished, FinishReason, type Usage } from "../../../gen/ts/weir/router/v1/event_pb.ts";

/** What every chunk of an answer, or its one body, says of it. */
export interface AnswerHead {
  /** With the prefix of its kind: "chatcmpl-...". */
  readonly id: string;
  /** Seconds since the Unix epoch. */
  readonly created: number;
  /** As the caller named it. */
  readonly model: string;
  /** How many choices there are, over all prompts. */
  readonly choices: number;
  /** Counts are sent in a last chunk. */
  readonly includeUsage: boolean;
  /** Calls are told the old way, as `function_call`. */
  readonly functionCalls: boolean;
}

/** Writes an answer's events as the data of an event stream. What it returns is whole events, or nothing. */
export interface ChunkFormat {
  /** What comes first, before any event. */
  open(): string;
  delta(delta: Delta): string;
  finished(finished: Finished): string;
  /** What comes after the last choice: counts, if they are asked for and known, and the end mark. */
  close(usage: Usage | undefined): string;
}

/** Collects an answer's events for one JSON body. */
export interface BodyFormat {
  /** Returns by how many characters the body has grown, nearly. */
  delta(delta: Delta): number;
  finished(finished: Finished): void;
  /** The body, piece by piece. It is asked for once: what is written is not held any more. */
  body(usage: Usage | undefined): Iterable<string>;
}

/** The end of a stream that is complete. */
export const endMark = "data: [DONE]\n\n";

export type FinishName = "stop" | "length" | "tool_calls" | "content_filter" | "function_call";

export function finishName(reason: FinishReason, functionCalls: boolean): FinishName {
  switch (reason) {
    case FinishReason.LENGTH:
      return "length";
    case FinishReason.TOOL_CALLS:
      return functionCalls ? "function_call" : "tool_calls";
    case FinishReason.CONTENT_FILTER:
      return "content_filter";
    default:
      return "stop";
  }
}

/** `usage` of a body, or of the last chunk, as JSON. */
export function usageJson({ promptTokens, completionTokens, cachedTokens, reasoningTokens }: Usage): string {
  return `{"prompt_tokens":${promptTokens},"completion_tokens":${completionTokens},"total_tokens":${promptTokens + completionTokens},"prompt_tokens_details":{"cached_tokens":${cachedTokens}},"completion_tokens_details":{"reasoning_tokens":${reasoningTokens}}}`;
}
