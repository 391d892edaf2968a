/** The signals that end a postmaster, from polite to final, and how long each has to work. */
export const stopSteps: readonly { readonly signal: NodeJS.Signals; readonly timeoutMs: number }[] = [
  // Fast: rolls back what is open and writes a checkpoint, which takes a while on a slow disk.
  { signal: "SIGINT", timeoutMs: 10_000 },
  // Immediate: the next start replays the log.
  { signal: "SIGQUIT", timeoutMs: 5_000 },
  { signal: "SIGKILL", timeoutMs: 5_000 },
];
