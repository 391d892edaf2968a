import { parseArgs } from "node:util";
import { type CampaignResult, runCampaign } from "./campaign.ts";
import { type Part, partsFor } from "./parts.ts";
import { failuresOf, histogramOf, progressOf, summaryOf } from "./report.ts";
import { startWorld, type World } from "./world.ts";

// The long form: npm run test:faults. It prints a line a fault, a verdict for each part, and one line of JSON, and ends with
// 1 when a promise was broken, a phase was hit too rarely, or there was no time for all.

const number = (text: string) => ({ type: "string", default: text }) as const;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: number("1"), "away-seconds": number("150"), minutes: number("60") },
});
const seed = Number(values.seed);
const startMs = performance.now();
let endMs = startMs + Number(values.minutes) * 60_000;
// The fault that is under way is gone through, so that no process is left behind.
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => void (endMs = 0));
const over = () => performance.now() > endMs;
/** Clients at a time without limits: with those that have some, and two places in one pool, enough for a queue. */
const unlimited = 8;

const outcomes: { readonly part: Part; readonly result: CampaignResult; readonly failures: readonly string[] }[] = [];

async function run(part: Part, world: World): Promise<void> {
  const { fault, shape, times, lastsMs } = part;
  const beganMs = performance.now();
  const told = (round: CampaignResult["rounds"][number], at: number) => {
    console.log(`${fault}, ${shape}, ${at + 1} of ${times}: ${progressOf(round)}`);
    for (const problem of round.problems) console.log(`  BROKEN ${problem}`);
  };
  const result = await runCampaign(world, { fault, times, lastsMs, seed, standings: true, over, told });
  const failures = failuresOf(result, times);
  outcomes.push({ part, result, failures });
  const minutes = ((performance.now() - beganMs) / 60_000).toFixed(1);
  console.log(`\n${failures.length === 0 ? "KEPT" : "BROKEN"}: ${fault}, ${shape}, ${times} times, ${minutes} minutes`);
  console.log(histogramOf(summaryOf([result])));
  for (const failure of failures) console.log(`  BROKEN ${failure}`);
  console.log();
}

const parts = partsFor(positionals, Number(values["away-seconds"]) * 1_000);
for (const [shape, own = []] of Object.entries(Object.groupBy(parts, (part) => part.shape))) {
  await using world = await startWorld({ shape: shape as Part["shape"], keys: unlimited });
  for (const part of own) await run(part, world);
}

const failed = outcomes.filter(({ failures }) => failures.length > 0);
const minutes = ((performance.now() - startMs) / 60_000).toFixed(1);
for (const { part, failures } of outcomes)
  console.log(`${failures.length === 0 ? "KEPT  " : "BROKEN"}  ${part.fault}, ${part.shape}, ${part.times} times`);
console.log(`${outcomes.length - failed.length} of ${parts.length} parts kept every promise, in ${minutes} minutes`);
const summaries = outcomes.map(({ part, result }) => ({ shape: part.shape, ...summaryOf([result]) }));
const failures = outcomes.reduce((sum, one) => sum + one.failures.length, 0);
console.log(JSON.stringify({ faults: "campaign", seed, failures, summaries }));
// Left to end by itself Node waits, busily and for ever, for writes to peers that were killed.
process.exit(failed.length > 0 ? 1 : 0);
