import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";
import { isCount } from "../counts.ts";
import type { Target } from "../driver.ts";
import type { Connection } from "../http/connection.ts";
import { isObject } from "../http/json.ts";
import { postJson } from "../http/post.ts";
import { requestWithBody } from "../http1/request.ts";
import { BadAnswer, type CountAttempt } from "../unary.ts";
import { anthropicErrorIn, failureFromAnthropic, failureFromAnthropicResponse } from "./errors.ts";
import { buildConversation } from "./messages.ts";
import { toolOf } from "./request.ts";

/** Counts the tokens that a conversation would be. */
export async function countAtAnthropic(
  connection: Connection,
  target: Target,
  attempt: CountAttempt,
  signal: AbortSignal,
): Promise<number> {
  const { input, tools, model } = attempt.request;
  if (input.case !== "conversation") throw fail(ErrorReason.UNSUPPORTED, { param: "prompt", model });
  const conversation = buildConversation(input.value.messages);
  if (conversation.kind === "unsupported")
    throw fail(ErrorReason.UNSUPPORTED, { param: "messages", feature: conversation.feature, model });
  const { system, messages } = conversation;
  const body = {
    model: attempt.model.engineModel,
    ...(system.length > 0 ? { system } : {}),
    messages,
    ...(tools.length > 0 ? { tools: tools.map(toolOf) } : {}),
  };
  const head = connection.post("/messages/count_tokens", "application/json");
  const answer = await postJson(
    {
      http: connection.http,
      target,
      request: requestWithBody(head, attempt.id, JSON.stringify(body)),
      model,
      refused: (responseHead, text) => failureFromAnthropicResponse(responseHead, text, target.clock.nowMs()),
      errorIn: (json) => {
        const error = anthropicErrorIn(json);
        return error && failureFromAnthropic(0, error);
      },
    },
    signal,
  );
  const tokens: unknown = isObject(answer) ? answer["input_tokens"] : undefined;
  if (typeof tokens !== "number" || !isCount(tokens)) throw new BadAnswer("an answer without a count");
  return tokens;
}
