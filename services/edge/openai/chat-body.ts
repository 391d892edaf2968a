import type { Delta, Finished, FinishReason, Usage } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { type AnswerHead, type BodyFormat, finishName, usageJson } from "./answer-format.ts";
import { chatLogprobJson, listJson } from "./logprobs-body.ts";

interface Choice {
  text: string;
  reasoning: string;
  refusal: string;
  /** Undefined: none was made. */
  calls: Map<number, Call> | undefined;
  /** JSON, entry by entry. */
  contentLogprobs: string[];
  refusalLogprobs: string[];
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

  delta(delta: Delta): number {
    const choice = this.#choices[delta.choice];
    return choice === undefined ? 0 : add(choice, delta);
  }

  finished({ choice, reason }: Finished): void {
    const found = this.#choices[choice];
    if (found !== undefined) found.finish = reason;
  }

  *body(usage: Usage | undefined): Generator<string> {
    const { id, created, model, functionCalls } = this.#head;
    yield `{"id":${JSON.stringify(id)},"object":"chat.completion","created":${created},"model":${JSON.stringify(model)},"choices":[`;
    for (const [index, choice] of this.#choices.entries()) {
      if (index > 0) yield ",";
      yield* choiceJson(choice, index, functionCalls);
    }
    yield usage === undefined ? "]}" : `],"usage":${usageJson(usage)}}`;
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

function add(choice: Choice, delta: Delta): number {
  const { fragment, tokenIds, logprobs } = delta;
  let length = addFragment(choice, fragment);
  for (const id of tokenIds) choice.tokenIds.push(id);
  length += idLength * tokenIds.length;
  const list = fragment.case === "refusal" ? choice.refusalLogprobs : choice.contentLogprobs;
  for (const logprob of logprobs) {
    const entry = chatLogprobJson(logprob);
    list.push(entry);
    length += entry.length + 1;
  }
  return length;
}

/** Of a token id, and of a call's names, in characters. */
const idLength = 7;
const callLength = 64;

function addFragment(choice: Choice, fragment: Delta["fragment"]): number {
  switch (fragment.case) {
    case "text":
      choice.text += fragment.value;
      return fragment.value.length;
    case "reasoning":
      choice.reasoning += fragment.value;
      return fragment.value.length;
    case "refusal":
      choice.refusal += fragment.value;
      return fragment.value.length;
    case "toolCall": {
      choice.calls ??= new Map();
      const call = choice.calls.get(fragment.value.index);
      if (call) call.arguments += fragment.value.arguments;
      else choice.calls.set(fragment.value.index, { ...fragment.value });
      return fragment.value.arguments.length + callLength;
    }
    case undefined:
      return 0;
  }
}

// What every answer has is written as it is; what few have is left to JSON.stringify.

function* choiceJson(choice: Choice, index: number, functionCalls: boolean): Generator<string> {
  const ids = choice.tokenIds.length > 0 ? `,"token_ids":[${choice.tokenIds.join(",")}]` : "";
  const finish = finishName(choice.finish, functionCalls);
  yield `{"index":${index},"message":${messageJson(choice, functionCalls)},"logprobs":`;
  yield* logprobsJson(choice);
  yield `,"finish_reason":"${finish}"${ids}}`;
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

function* logprobsJson(choice: Choice): Generator<string, void> {
  const { contentLogprobs, refusalLogprobs } = choice;
  if (contentLogprobs.length + refusalLogprobs.length === 0) return void (yield "null");
  choice.contentLogprobs = [];
  choice.refusalLogprobs = [];
  yield '{"content":';
  if (contentLogprobs.length > 0) yield* listJson(contentLogprobs);
  else yield "null";
  yield ',"refusal":';
  if (refusalLogprobs.length > 0) yield* listJson(refusalLogprobs);
  else yield "null";
  yield "}";
}
