/** What a running postmaster writes to `postmaster.pid` in its cluster. */
export interface PostmasterFile {
  readonly pid: number;
  /** True once it accepts connections. */
  readonly ready: boolean;
}

/** Reads the text of a `postmaster.pid`; undefined when it holds no process id, as a half-written one. */
export function parsePostmasterFile(text: string): PostmasterFile | undefined {
  // Lines: pid, data folder, start time, port, socket folder, listen address, shared memory, status.
  const lines = text.split("\n").map((line) => line.trim());
  const pid = Number(lines[0]);
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  return { pid, ready: lines[7] === "ready" };
}
