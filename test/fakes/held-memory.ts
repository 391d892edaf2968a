import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

// Only a context made after the flag has it.
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** How many bytes more the process holds after it has done something so many times, without what can be thrown away. */
export function heldAfter(act: () => void, times: number): number {
  const before = held();
  for (let time = 0; time < times; time += 1) act();
  return held() - before;
}

function held(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
