import type { Clock } from "../../runtime/clock.ts";
import type { Channel } from "../grpc/channel.ts";
import { Inputs } from "./inputs.ts";
import { modelStreamInfer } from "./rpcs.ts";

// The core answers at once; a server that does not is gone, and its generation with it.
const answerTimeoutMs = 5_000;

/**
 * A core that has not got the request yet makes nothing of its stop, and gets it then: the ensemble may be between two steps,
 * for long on a busy machine. Said again so long after one another, in milliseconds.
 */
const againAfterMs = [100, 400, 1_500];

const core = {
  batched: true,
  inputs: { input_ids: "INT32", input_lengths: "INT32", request_output_len: "INT32", stop: "BOOL" },
};

/**
 * Ends a generation that runs behind an ensemble. Triton passes a cancel to an ensemble's next step only, and the core
 * step goes on to its last token; but the core's request has the id of the ensemble's, and a request of the same id with
 * `stop` ends it. What the core answers is of no interest: a generation that is over needs no end, and whatever it is
 * told of it does nothing.
 */
export function stopBehindEnsemble(channel: Channel, stopModel: string, id: string, clock: Clock): void {
  const inputs = new Inputs(core);
  inputs.add("input_ids", 0);
  inputs.add("input_lengths", 1);
  inputs.add("request_output_len", 1);
  inputs.add("stop", true);
  const say = (times: number): void => {
    if (channel.closed) return;
    const over = () => timer.cancel();
    const receiver = { onMessage: () => undefined, onEnd: over, onError: over };
    const call = channel.send(modelStreamInfer(), inputs.request(stopModel, id), receiver);
    const timer = clock.setTimer(answerTimeoutMs, () => call.cancel());
    const afterMs = againAfterMs[times];
    if (afterMs !== undefined) clock.setTimer(afterMs, () => say(times + 1));
  };
  say(0);
}
