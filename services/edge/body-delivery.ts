import type { Delta, Finished, Started, Usage } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { AnswerControl, Delivery } from "./answer.ts";
import type { Exchange } from "./exchange.ts";
import type { BodyFormat } from "./openai/answer-format.ts";

/** Characters of an answer that are held for its one body: more than any context has room for. */
const heldMax = 64 * 1024 * 1024;

/** Holds an answer until it is complete, and sends it as one JSON body. Until then any failure has its own status. */
export function createBodyDelivery(exchange: Exchange, format: BodyFormat, model: string) {
  return (control: AnswerControl): Delivery => {
    let held = 0;
    return {
      started: (started: Started) => exchange.ignore(started.ignored),
      delta(delta: Delta) {
        exchange.firstToken();
        held += sizeOf(delta);
        if (held <= heldMax) format.delta(delta);
        else control.stop(fail(ErrorReason.ENGINE_PROTOCOL, { model, problem: "an answer without an end" }));
      },
      finished: (finished: Finished) => format.finished(finished),
      turn: () => undefined,
      complete: (usage: Usage | undefined) => exchange.json(200, format.body(usage)),
      fail: (error: WeirError) => exchange.fail(error),
      abandon: () => undefined,
      full: () => false,
    };
  };
}

/** In characters, as far as it matters: an entry of a log probability holds a token and its alternatives. */
function sizeOf({ fragment, logprobs }: Delta): number {
  const text = fragment.case === "toolCall" ? fragment.value.arguments.length + 64 : (fragment.value?.length ?? 0);
  return text + logprobs.reduce((sum, { top }) => sum + 64 * (top.length + 1), 0);
}
