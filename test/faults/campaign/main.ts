import { parseArgs } from "node:util";
import { type CampaignResult, runCampaign } from "./campaign.ts";
import { phases } from "./phases.ts";
import { problemsIn, type Summary, summaryOf, tableOf } from "./report.ts";
import type { Fault } from "./strikes.ts";
import { type Shape, startWorld } from "./world.ts";

// The long form: npm run test:faults. It prints a line a fault, then a table, then one line of JSON, and ends with 1 when a
// promise was broken, a phase was hit too rarely, or there was no time for all.

const number = (text: string) => ({ type: "string", default: text }) as const;
const { values } = parseArgs({
  options: {
    seed: number("1"),
    gateway: number("200"),
    control: number("50"),
    postgres: number("50"),
    outages: number("1"),
    "away-seconds": number("60"),
    minutes: number("45"),
  },
});
const seed = Number(values.seed);
let endMs = performance.now() + Number(values.minutes) * 60_000;
// The fault that is under way is gone through, so that no process is left behind.
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => void (endMs = 0));
const outages = Number(values.outages);
const awayMs = Number(values["away-seconds"]) * 1_000;
/** Shorter than what a stopped process or a broken network is given up after. */
const stoppedMs = 8_000;
/** Clients at a time: with two places in one pool, enough for a queue; few enough for a small machine. */
const clients = 20;
/** Of 200 kills of the gateway 20 have to hit each phase. */
const hitsMin = (kills: number) => Math.floor(kills / 10);

interface Plan {
  readonly fault: Fault;
  /** In each shape. */
  readonly times: Readonly<Record<Shape, number>>;
  readonly lastsMs?: number;
}

const halves = (count: number) => ({ one: Math.ceil(count / 2), two: Math.floor(count / 2) });
const plans: readonly Plan[] = [
  { fault: "gateway killed", times: halves(Number(values.gateway)) },
  { fault: "control killed", times: { one: 0, two: Number(values.control) } },
  { fault: "postgres killed", times: halves(Number(values.postgres)) },
  { fault: "control stopped", times: { one: 0, two: outages }, lastsMs: stoppedMs },
  { fault: "mesh cut", times: { one: 0, two: outages }, lastsMs: stoppedMs },
  { fault: "mesh silent", times: { one: 0, two: outages }, lastsMs: stoppedMs },
  { fault: "postgres cut", times: { one: outages, two: 0 }, lastsMs: awayMs },
  { fault: "postgres silent", times: { one: 0, two: outages }, lastsMs: awayMs },
];

const results: CampaignResult[] = [];
for (const shape of ["one", "two"] as const) {
  if (plans.every(({ times }) => times[shape] === 0)) continue;
  await using world = await startWorld({ shape, keys: clients });
  for (const { fault, times, lastsMs = 0 } of plans) {
    const told = ({ aim, hit, problems }: CampaignResult["rounds"][number], at: number) => {
      console.log(`${fault}, ${shape}, ${at + 1} of ${times[shape]}, for ${aim}: ${JSON.stringify(hit)}`);
      for (const problem of problems) console.log(`  ${problem}`);
    };
    const over = () => performance.now() > endMs;
    results.push(await runCampaign(world, { fault, times: times[shape], lastsMs, seed, over, told }));
  }
}

const failures = [...problemsIn(results)];
const summaries: Summary[] = [];
for (const { fault, times } of plans) {
  const wanted = times.one + times.two;
  if (wanted === 0) continue;
  const summary = summaryOf(results.filter((result) => result.fault === fault));
  summaries.push(summary);
  if (summary.times < wanted) failures.push(`${fault}: the time was over after ${summary.times} of ${wanted}`);
  if (fault !== "gateway killed") continue;
  for (const phase of phases) {
    const hits = summary.phases[phase]?.times ?? 0;
    if (hits < hitsMin(wanted)) failures.push(`${phase} was hit ${hits} times by ${wanted} kills`);
  }
}
console.table(tableOf(summaries));
for (const failure of failures) console.log(failure);
console.log(JSON.stringify({ faults: "campaign", seed, failures: failures.length, summaries }));
process.exitCode = failures.length > 0 ? 1 : 0;
