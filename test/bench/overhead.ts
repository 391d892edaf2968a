import { parseArgs } from "node:util";
import type { Extent } from "./measures.ts";
import { json, type Samples, table } from "./report.ts";
import { calmestOf, measureRounds, type Round, warmUp } from "./rounds.ts";
import { startWays } from "./ways.ts";

/**
 * What a request and a streamed frame cost through Weir, with auth, quota and usage on, beside a bare proxy on the same
 * Node and beside Portkey, in turns in one run. The README here tells how to read it.
 */
export async function overhead(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: "string" },
      quick: { type: "boolean", default: false },
      "no-portkey": { type: "boolean", default: false },
    },
  });
  const rounds = Number(values.rounds ?? (values.quick ? 2 : 8));
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error("--rounds takes a whole number above 0");
  const extent: Extent = values.quick ? { windowMs: 600, streams: 64 } : { windowMs: 1_000, streams: 128 };

  await using resources = new AsyncDisposableStack();
  const { ways, upstream } = await startWays(resources, { portkey: !values["no-portkey"] });
  const memory = await warmUp(ways, extent);
  const all = await measureRounds(ways, rounds, extent);
  const calm = calmestOf(all);
  const samples: Samples = new Map(
    ways.map(({ name }) => [name, [memory.get(name) ?? {}, ...calm.map((round) => round.samples.get(name) ?? {})]]),
  );
  const books = ways.find((way) => way.books)?.books;
  const [ledger, calls] = [await books?.sums(), Object.fromEntries((await books?.calls()) ?? [])];
  const othersPercent = calm.map((round) => Number(round.othersPercent.toFixed(1)));
  console.log(table(samples));
  console.log(`The upstream of answers in one piece: ${upstream}. The ledger: ${JSON.stringify(ledger)}, as sent.`);
  console.log(`Calls of the control plane since the start: ${JSON.stringify(calls)}.`);
  console.log(
    `Others had ${othersPercent.join(", ")} % of the machine; in the rounds that are left out, ${leftOut(all, calm)} %.`,
  );
  console.log(
    JSON.stringify({
      bench: "overhead",
      rounds,
      ...extent,
      upstream,
      othersPercent,
      ledger,
      calls,
      ways: json(samples),
    }),
  );
}

function leftOut(all: readonly Round[], calm: readonly Round[]): string {
  const rest = all.filter((round) => !calm.includes(round)).map((round) => round.othersPercent.toFixed(1));
  return rest.join(", ") || "none";
}
