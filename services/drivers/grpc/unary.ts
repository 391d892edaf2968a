import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Timer } from "../../runtime/clock.ts";
import { weirErrorFrom } from "../../runtime/errors/fail.ts";
import type { Target } from "../driver.ts";
import { engineError, type Failure, protocol, unavailable } from "../failure.ts";
import type { Channel, Rpc } from "./channel.ts";
import type { Call } from "./stream-call.ts";

/** What a call with one answer needs. */
export interface AskOptions<I, O> {
  readonly channel: Channel;
  readonly target: Target;
  readonly rpc: Rpc<I, O>;
  readonly request: I;
  /** The model as the caller names it. */
  readonly model: string;
  /** What the status of a call means. */
  failureFrom(code: number, text: string): Failure;
}

/**
 * Makes a call that has one answer. Rejects with the engine's failure, with ENGINE_TIMEOUT after the longest time that a
 * generation may take, or with the signal's reason; then the call is cancelled.
 */
export function askOnce<I, O>(options: AskOptions<I, O>, signal: AbortSignal): Promise<O> {
  return new Promise((resolve, reject) => {
    const { channel, target, rpc, request } = options;
    if (signal.aborted) return reject(weirErrorFrom(signal.reason));
    const timers: Timer[] = [];
    let call: Call | undefined;
    let answer: { readonly value: O } | undefined;
    const end = (settle: () => void, stop: boolean) => {
      for (const timer of timers) timer.cancel();
      signal.removeEventListener("abort", onAbort);
      if (stop) call?.cancel();
      settle();
    };
    const failed = (failure: Failure, cause?: unknown) =>
      end(() => reject(engineError(failure, options.model, target.engineKey, cause)), true);
    const onAbort = () => end(() => reject(weirErrorFrom(signal.reason)), true);
    const late = { phase: "end", waited_ms: String(Math.round(target.totalMs)) };
    timers.push(
      target.clock.setTimer(target.totalMs, () => failed({ reason: ErrorReason.ENGINE_TIMEOUT, metadata: late })),
    );
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      call = channel.send(rpc, request, {
        onMessage(value) {
          if (answer) failed(protocol("two answers to one question"));
          answer = { value };
        },
        onEnd() {
          if (answer) end(() => resolve(answer?.value as O), false);
          else failed(protocol("an end without an answer"));
        },
        onError: (error) => failed(options.failureFrom(error.code, error.details), error),
      });
    } catch (thrown) {
      // The channel was closed meanwhile.
      failed(unavailable, thrown);
    }
  });
}
