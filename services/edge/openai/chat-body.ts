import type { Delta, Finished, FinishReason, Usage } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { type AnswerHead, type BodyFormat, finishName, usageBody } from "./answer-format.ts";
import { type ChatLogprob, chatLogprob } from "./logprobs-body.ts";

interface Choice {
  text: string;
  reasoning: string;
  refusal: string;
  readonly calls: Map<number, Call>;
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
  const choices = Array.from({ length: head.choices }, emptyChoice);

  return {
    delta(delta) {
      const choice = choices[delta.choice];
      if (choice !== undefined) add(choice, delta);
    },
    finished({ choice, reason }: Finished) {
      const found = choices[choice];
      if (found !== undefined) found.finish = reason;
    },
    body(usage: Usage | undefined) {
      return JSON.stringify({
        id: head.id,
        object: "chat.completion",
        created: head.created,
        model: head.model,
        choices: choices.map((choice, index) => choiceBody(choice, index, head.functionCalls)),
        usage: usage && usageBody(usage),
      });
    },
  };
}

function emptyChoice(): Choice {
  return {
    text: "",
    reasoning: "",
    refusal: "",
    calls: new Map(),
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

function choiceBody(choice: Choice, index: number, functionCalls: boolean) {
  return {
    index,
    message: messageBody(choice, functionCalls),
    logprobs: logprobsBody(choice),
    finish_reason: finishName(choice.finish, functionCalls),
    ...(choice.tokenIds.length > 0 ? { token_ids: choice.tokenIds } : {}),
  };
}

function messageBody(choice: Choice, functionCalls: boolean) {
  const calls = [...choice.calls].sort(([a], [b]) => a - b).map(([, call]) => call);
  const silent = choice.text === "" && (calls.length > 0 || choice.refusal !== "");
  const [called] = calls;
  return {
    role: "assistant",
    content: silent ? null : choice.text,
    refusal: choice.refusal === "" ? null : choice.refusal,
    // Clients know the one name or the other.
    ...(choice.reasoning === "" ? {} : { reasoning: choice.reasoning, reasoning_content: choice.reasoning }),
    ...(called === undefined
      ? {}
      : functionCalls
        ? { function_call: functionBody(called) }
        : { tool_calls: calls.map(callBody) }),
  };
}

function callBody(call: Call) {
  return { id: call.id, type: "function", function: functionBody(call) };
}

function functionBody({ name, arguments: text }: Call) {
  return { name, arguments: text };
}

function logprobsBody({ contentLogprobs, refusalLogprobs }: Choice) {
  if (contentLogprobs.length + refusalLogprobs.length === 0) return null;
  return {
    content: contentLogprobs.length > 0 ? contentLogprobs : null,
    refusal: refusalLogprobs.length > 0 ? refusalLogprobs : null,
  };
}
