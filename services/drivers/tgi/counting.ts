import { requestWithBody } from "../http1/request.ts";
import type { Target } from "../driver.ts";
import type { Connection } from "../http/connection.ts";
import { isObject } from "../http/json.ts";
import { postJson } from "../http/post.ts";
import { BadAnswer, type CountAttempt } from "../unary.ts";
import { promptOfChat } from "./chat-request.ts";
import { failureFromTgi, failureFromTgiResponse, tgiErrorIn } from "./errors.ts";

/** Counts the tokens of a text, or of what the server's own template makes of a conversation. */
export async function countAtTgi(
  connection: Connection,
  target: Target,
  attempt: CountAttempt,
  signal: AbortSignal,
): Promise<number> {
  const { input, tools, model } = attempt.request;
  const chats = input.case === "conversation" && attempt.prompt === undefined;
  const path = chats ? "/chat_tokenize" : "/tokenize";
  const body = chats
    ? promptOfChat(input.value.messages, tools)
    : { inputs: input.case === "prompt" ? input.value : (attempt.prompt ?? "") };
  const answer = await postJson(
    {
      http: connection.http,
      target,
      request: requestWithBody(connection.postRoot(path), attempt.id, JSON.stringify(body)),
      model,
      refused: (head, text) => failureFromTgiResponse(head, text, target.clock.nowMs()),
      errorIn: (json) => {
        const error = tgiErrorIn(json);
        return error && failureFromTgi(error);
      },
    },
    signal,
  );
  const tokens: unknown = chats && isObject(answer) ? answer["tokenize_response"] : answer;
  if (!Array.isArray(tokens) || tokens.length === 0) throw new BadAnswer("an answer without tokens");
  return tokens.length;
}
