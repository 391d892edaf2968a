import { setImmediate as nextTurn } from "node:timers/promises";

/**
 * Runs something, and finds the longest turn of the event loop meanwhile: how long everything else on this thread had to
 * wait at the most. In milliseconds of the thread's own processor time, which a busy machine does not lengthen.
 */
export async function longestTurn<T>(run: () => Promise<T>): Promise<{ turnMs: number; result: T }> {
  let longestUs = 0;
  let over = false;
  const used = () => {
    const { user, system } = process.threadCpuUsage();
    return user + system;
  };
  const watch = async () => {
    for (let before = used(); !over; ) {
      await nextTurn();
      const now = used();
      longestUs = Math.max(longestUs, now - before);
      before = now;
    }
  };
  const watching = watch();
  try {
    return { result: await run(), turnMs: longestUs / 1_000 };
  } finally {
    over = true;
    await watching;
  }
}

/**
 * The same, of the first of three runs whose longest turn is within the limit, else of the last: on a machine that does much
 * else the collector of garbage may have a bad moment, but not each time.
 */
export async function usualTurn<T>(limitMs: number, run: () => Promise<T>): Promise<{ turnMs: number; result: T }> {
  for (let runs = 1; ; runs++) {
    const found = await longestTurn(run);
    if (found.turnMs < limitMs || runs === 3) return found;
  }
}
