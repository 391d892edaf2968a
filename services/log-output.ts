import { type DestinationStream, pino } from "pino";

/** Where the log's lines go. Disposing writes what is left. */
export interface LogOutput extends Disposable {
  readonly destination: DestinationStream;
}

/** Lines are written together: a write for each would cost a request more than its line does. */
const togetherBytes = 65_536;
/** In one write; sonic-boom wants more than what it collects. */
const writeBytesMax = 2 * togetherBytes;
/** A line is seen after this long at the latest; a process that is killed loses no more. */
const latestMs = 200;

/** Opens standard error for the log. */
export function openLogOutput(): LogOutput {
  const destination = pino.destination({
    dest: 2,
    sync: false,
    minLength: togetherBytes,
    maxWrite: writeBytesMax,
    periodicFlush: latestMs,
  });
  // Nobody reads any more, or the disk is full: the log must not end the process.
  destination.on("error", () => undefined);
  return { destination, [Symbol.dispose]: () => destination.flushSync() };
}
