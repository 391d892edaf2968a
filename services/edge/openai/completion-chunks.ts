import type { Delta, Finished, Usage } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { type AnswerHead, type ChunkFormat, endMark, finishName, usageJson } from "./answer-format.ts";
import { addCompletionLogprobs, completionLogprobsJson, emptyCompletionLogprobs } from "./logprobs-body.ts";

/** The chunks of a completion's stream. Its choices have text only: thought and calls belong to a conversation. */
export function createCompletionChunks(head: AnswerHead): ChunkFormat {
  const { id, created, model } = head;
  const common = `data: {"id":${JSON.stringify(id)},"object":"text_completion","created":${created},"model":${JSON.stringify(model)}`;
  const before = `${common},"choices":[{"index":`;
  const after = head.includeUsage ? `}],"usage":null}\n\n` : "}]}\n\n";
  const unfinished = `,"logprobs":null,"finish_reason":null${after}`;
  /** How much text each choice has had. */
  const lengths: number[] = [];

  return {
    open: () => "",
    delta(delta) {
      const text = delta.fragment.case === "text" ? delta.fragment.value : "";
      if (text === "" && delta.logprobs.length === 0 && delta.tokenIds.length === 0) return "";
      const offset = lengths[delta.choice] ?? 0;
      lengths[delta.choice] = offset + text.length;
      const start = `${before}${delta.choice},"text":${JSON.stringify(text)}`;
      if (delta.logprobs.length === 0 && delta.tokenIds.length === 0) return start + unfinished;
      return `${start},"logprobs":${logprobsJson(delta, offset)},"finish_reason":null${tokenIdsJson(delta)}${after}`;
    },
    finished({ choice, reason }: Finished) {
      return `${before}${choice},"text":"","logprobs":null,"finish_reason":"${finishName(reason, false)}"${after}`;
    },
    close(usage: Usage | undefined) {
      if (!head.includeUsage || usage === undefined) return endMark;
      return `${common},"choices":[],"usage":${usageJson(usage)}}\n\n${endMark}`;
    },
  };
}

function logprobsJson(delta: Delta, offset: number): string {
  if (delta.logprobs.length === 0) return "null";
  const logprobs = emptyCompletionLogprobs();
  addCompletionLogprobs(logprobs, delta.logprobs, offset);
  return [...completionLogprobsJson(logprobs)].join("");
}

function tokenIdsJson({ tokenIds }: Delta): string {
  return tokenIds.length === 0 ? "" : `,"token_ids":[${tokenIds.join(",")}]`;
}
