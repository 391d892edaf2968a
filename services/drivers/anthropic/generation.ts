import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Cancel, Sink } from "../../runtime/mesh/push.ts";
import { missingCapability, unsupported } from "../capabilities.ts";
import type { Attempt, Target } from "../driver.ts";
import { ChoiceCalls } from "../http/choice-calls.ts";
import type { Connection } from "../http/connection.ts";
import { requestWithBody } from "../http1/request.ts";
import { failureFromAnthropicResponse } from "./errors.ts";
import { MessageReader } from "./reader.ts";
import { buildMessage, stopsForReader } from "./request.ts";

/** Runs one attempt: a call for each choice. Throws a WeirError for one that is not sent. */
export function startGeneration(
  connection: Connection,
  target: Target,
  attempt: Attempt,
  sink: Sink<GenerateResponse>,
): Cancel {
  const { request } = attempt;
  const missing = missingCapability(attempt);
  if (missing) throw missing;
  // A plain prompt it can't continue.
  if (request.input.case !== "conversation") throw unsupported(attempt, "prompt");
  const built = buildMessage(attempt);
  if (built.kind === "unsupported") throw unsupported(attempt, built.param, built.feature);

  const calls = new ChoiceCalls({ attempt, target, sink, streams: request.stream, ignored: built.ignored });
  const head = connection.post("/messages", request.stream ? "text/event-stream" : "application/json");
  const body = JSON.stringify(built.body);
  calls.start(
    connection.http,
    (choice) => requestWithBody(head, choice === 0 ? attempt.id : `${attempt.id}-${choice}`, body),
    (call) => {
      const reader = new MessageReader(call, stopsForReader(request.sampling));
      return {
        answer: call,
        read: (json) => reader.read(json),
        refused: (responseHead, text) => failureFromAnthropicResponse(responseHead, text, target.clock.nowMs()),
      };
    },
  );
  return () => calls.answer.cancel();
}
