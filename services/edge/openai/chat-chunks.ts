import type { Delta, Finished, ToolCallFragment, Usage } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { type AnswerHead, type ChunkFormat, endMark, finishName, usageJson } from "./answer-format.ts";
import { chatLogprobJson } from "./logprobs-body.ts";

/**
 * The chunks of a chat stream: a role for each choice, deltas, a finish for each choice, counts if asked for, the end
 * mark. A chunk is what is the same in all of them around what is new: only that is encoded as JSON.
 */
export function createChatChunks(head: AnswerHead): ChunkFormat {
  const { id, created, model } = head;
  const common = `data: {"id":${JSON.stringify(id)},"object":"chat.completion.chunk","created":${created},"model":${JSON.stringify(model)}`;
  const before = `${common},"choices":[{"index":`;
  // Where counts come in a last chunk, the others say that they have none.
  const after = head.includeUsage ? `}],"usage":null}\n\n` : "}]}\n\n";
  const unfinished = `,"logprobs":null,"finish_reason":null${after}`;
  /** Calls that have begun, as `choice/index`: their id and name are told once. */
  const begun = new Set<string>();

  function callJson(choice: number, call: ToolCallFragment): string {
    const key = `${choice}/${call.index}`;
    const first = !begun.has(key);
    if (first) begun.add(key);
    const text = JSON.stringify(call.arguments);
    const named = first ? `"name":${JSON.stringify(call.name)},"arguments":${text}` : `"arguments":${text}`;
    if (head.functionCalls) return `{"function_call":{${named}}}`;
    const identity = first ? `"id":${JSON.stringify(call.id)},"type":"function",` : "";
    return `{"tool_calls":[{"index":${call.index},${identity}"function":{${named}}}]}`;
  }

  function deltaJson(delta: Delta): string {
    const { fragment } = delta;
    switch (fragment.case) {
      case "text":
        return `{"content":${JSON.stringify(fragment.value)}}`;
      case "reasoning": {
        // Clients know the one name or the other.
        const text = JSON.stringify(fragment.value);
        return `{"reasoning":${text},"reasoning_content":${text}}`;
      }
      case "refusal":
        return `{"refusal":${JSON.stringify(fragment.value)}}`;
      case "toolCall":
        return callJson(delta.choice, fragment.value);
      case undefined:
        return "{}";
    }
  }

  return {
    open() {
      let chunks = "";
      for (let i = 0; i < head.choices; i++) {
        chunks += `${before}${i},"delta":{"role":"assistant","content":"","refusal":null}${unfinished}`;
      }
      return chunks;
    },
    delta(delta) {
      if (delta.logprobs.length === 0 && delta.tokenIds.length === 0) {
        // An engine may count a token that makes no character yet.
        return isEmpty(delta) ? "" : `${before}${delta.choice},"delta":${deltaJson(delta)}${unfinished}`;
      }
      return `${before}${delta.choice},"delta":${deltaJson(delta)},"logprobs":${logprobsJson(delta)},"finish_reason":null${tokenIdsJson(delta)}${after}`;
    },
    finished({ choice, reason }: Finished) {
      return `${before}${choice},"delta":{},"logprobs":null,"finish_reason":"${finishName(reason, head.functionCalls)}"${after}`;
    },
    close(usage: Usage | undefined) {
      if (!head.includeUsage || usage === undefined) return endMark;
      return `${common},"choices":[],"usage":${usageJson(usage)}}\n\n${endMark}`;
    },
  };
}

function isEmpty({ fragment }: Delta): boolean {
  return fragment.case === undefined || fragment.value === "";
}

function logprobsJson({ logprobs, fragment }: Delta): string {
  if (logprobs.length === 0) return "null";
  const entries = `[${logprobs.map(chatLogprobJson).join(",")}]`;
  return fragment.case === "refusal"
    ? `{"content":null,"refusal":${entries}}`
    : `{"content":${entries},"refusal":null}`;
}

function tokenIdsJson({ tokenIds }: Delta): string {
  return tokenIds.length === 0 ? "" : `,"token_ids":[${tokenIds.join(",")}]`;
}
