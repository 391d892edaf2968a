import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { errorOfAbort } from "./running-call.ts";
import { fail } from "../errors/fail.ts";

/**
 * Reads a stream and ends its call, however the reading ends: the one way to iterate over an RPC.
 *
 * @param signal ends the call from outside; undefined: only the reading ends it.
 * @param open starts the call with the signal that it is given.
 * @param consume reads; its result is the result.
 */
export async function withStream<T, R>(
  signal: AbortSignal | undefined,
  open: (signal: AbortSignal) => AsyncIterable<T>,
  consume: (messages: AsyncIterable<T>) => Promise<R>,
): Promise<R> {
  const controller = new AbortController();
  const follow = () => controller.abort(signal && errorOfAbort(signal));
  if (signal?.aborted) follow();
  signal?.addEventListener("abort", follow, { once: true });
  try {
    return await consume(open(controller.signal));
  } finally {
    signal?.removeEventListener("abort", follow);
    controller.abort(fail(ErrorReason.CANCELLED));
  }
}
