import type { Clock } from "./runtime/clock.ts";

/** Time between two signals after which the second is another one, and not the terminal's and npm's copy of the first. */
const copiedMs = 1_000;

/**
 * Resolves with the name of the first signal that asks the process to stop. A further one, well after it, ends the
 * process at once.
 */
export function onStopSignal(clock: Clock): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let firstMs: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      const nowMs = clock.monotonicMs();
      firstMs ??= nowMs;
      if (nowMs - firstMs > copiedMs) process.exit(130);
      resolve(signal);
    });
  }
  return promise;
}
