/** Runs work, as much at a time as there are lanes; the rest waits in its order. */
export interface Lanes {
  /** Undefined if too much waits already. Work that was given up while it waited is not begun. */
  run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> | undefined;
}

export interface LanesOptions {
  readonly lanes: number;
  /** Work that may wait. */
  readonly waitingMax: number;
}

/** Builds lanes that are all free. */
export function createLanes({ lanes, waitingMax }: LanesOptions): Lanes {
  const waiting: (() => void)[] = [];
  let busy = 0;

  const enter = (): Promise<void> => {
    if (busy < lanes) {
      busy += 1;
      return Promise.resolve();
    }
    return new Promise((resolve) => waiting.push(resolve));
  };
  // Whoever leaves hands its lane over.
  const leave = (): void => {
    const next = waiting.shift();
    if (next === undefined) busy -= 1;
    else next();
  };

  return {
    run(work, signal) {
      if (busy >= lanes && waiting.length >= waitingMax) return undefined;
      return enter().then(async () => {
        try {
          signal.throwIfAborted();
          return await work();
        } finally {
          leave();
        }
      });
    },
  };
}
