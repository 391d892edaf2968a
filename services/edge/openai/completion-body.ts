import type { Finished, FinishReason, Usage } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { type AnswerHead, type BodyFormat, finishName, usageJson } from "./answer-format.ts";
import { addCompletionLogprobs, type CompletionLogprobs, emptyCompletionLogprobs } from "./logprobs-body.ts";

interface Choice {
  text: string;
  readonly logprobs: CompletionLogprobs;
  readonly tokenIds: number[];
  finish: FinishReason;
}

/** The body of a completion that is not streamed. */
export function createCompletionBody(head: AnswerHead): BodyFormat {
  const choices: Choice[] = Array.from({ length: head.choices }, () => ({
    text: "",
    logprobs: emptyCompletionLogprobs(),
    tokenIds: [],
    finish: 0,
  }));

  return {
    delta(delta) {
      const choice = choices[delta.choice];
      if (choice === undefined) return;
      addCompletionLogprobs(choice.logprobs, delta.logprobs, choice.text.length);
      for (const id of delta.tokenIds) choice.tokenIds.push(id);
      if (delta.fragment.case === "text") choice.text += delta.fragment.value;
    },
    finished({ choice, reason }: Finished) {
      const found = choices[choice];
      if (found !== undefined) found.finish = reason;
    },
    body(usage: Usage | undefined) {
      const { id, created, model } = head;
      const counts = usage === undefined ? "" : `,"usage":${usageJson(usage)}`;
      return `{"id":${JSON.stringify(id)},"object":"text_completion","created":${created},"model":${JSON.stringify(model)},"choices":${JSON.stringify(choices.map(choiceBody))}${counts}}`;
    },
  };
}

function choiceBody(choice: Choice, index: number) {
  return {
    index,
    text: choice.text,
    logprobs: choice.logprobs.tokens.length > 0 ? choice.logprobs : null,
    finish_reason: finishName(choice.finish, false),
    ...(choice.tokenIds.length > 0 ? { token_ids: choice.tokenIds } : {}),
  };
}
