import type { Finished, FinishReason, Usage } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { type AnswerHead, type BodyFormat, finishName, usageJson } from "./answer-format.ts";
import {
  addCompletionLogprobs,
  type CompletionLogprobs,
  completionLogprobsJson,
  emptyCompletionLogprobs,
} from "./logprobs-body.ts";

interface Choice {
  text: string;
  logprobs: CompletionLogprobs;
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
    delta({ choice: at, fragment, logprobs, tokenIds }) {
      const choice = choices[at];
      if (choice === undefined) return 0;
      const length = addCompletionLogprobs(choice.logprobs, logprobs, choice.text.length);
      for (const id of tokenIds) choice.tokenIds.push(id);
      const text = fragment.case === "text" ? fragment.value : "";
      choice.text += text;
      return text.length + length + idLength * tokenIds.length;
    },
    finished({ choice, reason }: Finished) {
      const found = choices[choice];
      if (found !== undefined) found.finish = reason;
    },
    *body(usage: Usage | undefined) {
      const { id, created, model } = head;
      yield `{"id":${JSON.stringify(id)},"object":"text_completion","created":${created},"model":${JSON.stringify(model)},"choices":[`;
      for (const [index, choice] of choices.entries()) {
        if (index > 0) yield ",";
        yield* choiceJson(choice, index);
      }
      yield usage === undefined ? "]}" : `],"usage":${usageJson(usage)}}`;
    },
  };
}

/** Of a token id, in characters. */
const idLength = 7;

function* choiceJson(choice: Choice, index: number): Generator<string> {
  const { logprobs } = choice;
  choice.logprobs = emptyCompletionLogprobs();
  yield `{"index":${index},"text":${JSON.stringify(choice.text)},"logprobs":`;
  yield* completionLogprobsJson(logprobs);
  const ids = choice.tokenIds.length > 0 ? `,"token_ids":[${choice.tokenIds.join(",")}]` : "";
  yield `,"finish_reason":"${finishName(choice.finish, false)}"${ids}}`;
}
