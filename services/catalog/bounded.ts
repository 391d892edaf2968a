import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../runtime/errors/fail.ts";

/** The answer, or a rejection with CANCELLED once the signal says so: whoever answers may go on, and forget the signal. */
export function bounded<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(fail(ErrorReason.CANCELLED));
    if (signal.aborted) giveUp();
    else signal.addEventListener("abort", giveUp, { once: true });
    answer.then(resolve, reject).finally(() => signal.removeEventListener("abort", giveUp));
  });
}
