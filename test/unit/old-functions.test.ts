import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

// V8 makes a function that is written to the right of `one.field =` among the old objects, for it could become a method.
// An old object keeps what hangs on it until the next full collection, dead or not: of a function made for a request that
// is the whole request, and the quick collections then copy all requests there ever were (60 ms in place of 0.2).
const program = (make: string) => `
  class Holder { field; }
  const ring = new Array(32).fill(undefined);
  const one = () => { const held = { numbers: new Array(200).fill(0) }; const holder = new Holder(); ${make} return holder; };
  for (let i = 0; i < 100_000; i++) ring[i % 32] = one();
`;

/** How much the last quick collections copied, in bytes. */
async function survived(make: string): Promise<number> {
  const flags = ["--no-opt", "--no-maglev", "--no-sparkplug", "--trace-gc", "--trace-gc-nvp"];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, "--eval", program(make)]);
  const sums = [...stdout.matchAll(/ gc=s .* promoted=(\d+) .* new_space_survived=(\d+) /g)];
  expect(sums.length).toBeGreaterThan(2);
  return Math.max(...sums.slice(-2).map(([, promoted, copied]) => Number(promoted) + Number(copied)));
}

test("a function that is made before it is stored dies with its request", async () => {
  expect(await survived("const f = () => held; holder.field = f;")).toBeLessThan(1_000_000);
});

// If this fails, V8 has changed: then the rule of the house that rests on it may go.
test("one that is stored where it is made does not", async () => {
  expect(await survived("holder.field = () => held;")).toBeGreaterThan(5_000_000);
});
