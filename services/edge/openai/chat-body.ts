import type { Delta, Finished, FinishReason, Usage } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { type AnswerHead, type BodyFormat, finishName, usageJson } from "./answer-format.ts";
import { type ChatLogprob, chatLogprob } from "./logprobs-body.ts";

interface Choice {
  text: string;
  reasoning: string;
  refusal: string;
  /** Undefined: none was made. */
  calls: Map<number, Call> | undefined;
  readonly contentLogprobs: ChatLogprob[];
  readonly refusalLogprobs: ChatLogprob[];
  readonly tokenIds: number[];
  finish: FinishReason;
}

interface Call {
  id: string;
  name: string;
  arguments: string;
}

/** The body of a chat answer that is not streamed. */
export function createChatBody(head: AnswerHead): BodyFormat {
  return new ChatBody(head);
}

class ChatBody implements BodyFormat {
  readonly #head: AnswerHead;
  readonly #choices: Choice[] = [];

  constructor(head: AnswerHead) {
    this.#head = head;
    while (this.#choices.length < head.choices) this.#choices.push(emptyChoice());
  }

  delta(delta: Delta): void {
    const choice = this.#choices[delta.choice];
    if (choice !== undefined) add(choice, delta);
  }

  finished({ choice, reason }: Finished): void {
    const found = this.#choices[choice];
    if (found !== undefined) found.finish = reason;
  }

  body(usage: Usage | undefined): string {
    const { id, created, model, functionCalls } = this.#head;
    const choices = this.#choices.map((choice, index) => choiceJson(choice, index, functionCalls)).join(",");
    const counts = usage === undefined ? "" : `,"usage":${usageJson(usage)}`;
    return `{"id":${JSON.stringify(id)},"object":"chat.completion","created":${created},"model":${JSON.stringify(model)},"choices":[${choices}]${counts}}`;
  }
}

function emptyChoice(): Choice {
  return {
    text: "",
    reasoning: "",
    refusal: "",
    calls: undefined,
    contentLogprobs: [],
    refusalLogprobs: [],
    tokenIds: [],
    finish: 0,
  };
}

function add(choice: Choice, delta: Delta): void {
  const { fragment } = delta;
  switch (fragment.case) {
    case "text":
      choice.text += fragment.value;
      break;
    case "reasoning":
      choice.reasoning += fragment.value;
      break;
    case "refusal":
      choice.refusal += fragment.value;
      break;
    case "toolCall": {
      choice.calls ??= new Map();
      const call = choice.calls.get(fragment.value.index);
      if (call) call.arguments += fragment.value.arguments;
      else choice.calls.set(fragment.value.index, { ...fragment.value });
      break;
    }
    case undefined:
      break;
  }
  for (const id of delta.tokenIds) choice.tokenIds.push(id);
  const list = fragment.case === "refusal" ? choice.refusalLogprobs : choice.contentLogprobs;
  for (const logprob of delta.logprobs) list.push(chatLogprob(logprob));
}

// What every answer has is written as it is; what few have is left to JSON.stringify.

function choiceJson(choice: Choice, index: number, functionCalls: boolean): string {
  const ids = choice.tokenIds.length > 0 ? `,"token_ids":[${choice.tokenIds.join(",")}]` : "";
  const finish = finishName(choice.finish, functionCalls);
  return `{"index":${index},"message":${messageJson(choice, functionCalls)},"logprobs":${logprobsJson(choice)},"finish_reason":"${finish}"${ids}}`;
}

function messageJson({ text, refusal, reasoning, calls }: Choice, functionCalls: boolean): string {
  const content = text === "" && (calls !== undefined || refusal !== "") ? "null" : JSON.stringify(text);
  const refused = refusal === "" ? "null" : JSON.stringify(refusal);
  const thought = reasoning === "" ? "" : JSON.stringify(reasoning);
  // Clients know the one name or the other.
  const reasoned = thought === "" ? "" : `,"reasoning":${thought},"reasoning_content":${thought}`;
  const made = calls === undefined ? "" : callsJson(calls, functionCalls);
  return `{"role":"assistant","content":${content},"refusal":${refused}${reasoned}${made}}`;
}

function callsJson(calls: ReadonlyMap<number, Call>, functionCalls: boolean): string {
  const inOrder = [...calls].sort(([a], [b]) => a - b).map(([, call]) => call);
  if (functionCalls) return `,"function_call":${JSON.stringify(functionBody(inOrder[0]))}`;
  return `,"tool_calls":${JSON.stringify(inOrder.map((call) => ({ id: call.id, type: "function", function: functionBody(call) })))}`;
}

function functionBody(call: Call | undefined) {
  return { name: call?.name, arguments: call?.arguments };
}

function logprobsJson({ contentLogprobs, refusalLogprobs }: Choice): string {
  if (contentLogprobs.length + refusalLogprobs.length === 0) return "null";
  return JSON.stringify({
    content: contentLogprobs.length > 0 ? contentLogprobs : null,
    refusal: refusalLogprobs.length > 0 ? refusalLogprobs : null,
  });
}
