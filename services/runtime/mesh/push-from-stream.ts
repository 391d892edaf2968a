import { weirErrorFrom } from "../errors/fail.ts";
import { pump } from "./pump.ts";
import type { Cancel, Sink } from "./push.ts";

/**
 * A stream from a wire, in push form.
 *
 * @param open starts the call; its signal ends it, whatever it is at.
 */
export function pushFromStream<T>(open: (signal: AbortSignal) => Promise<AsyncIterable<T>>, sink: Sink<T>): Cancel {
  const controller = new AbortController();
  let stop: (() => void) | undefined;
  const opened = (messages: AsyncIterable<T>): void => {
    if (!controller.signal.aborted) stop = pump(messages[Symbol.asyncIterator](), sink);
  };
  const refused = (thrown: unknown): void => {
    if (!controller.signal.aborted) sink.fail(weirErrorFrom(thrown));
  };
  open(controller.signal).then(opened, refused);
  return (reason) => {
    stop?.();
    controller.abort(reason);
  };
}
