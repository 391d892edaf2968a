import { type Metric, metrics, type Sample } from "./metrics.ts";
import { type Spread, spreadOf } from "./statistics.ts";
import type { WayName } from "./ways.ts";

/** A sample a round, and what was measured once. */
export type Samples = ReadonlyMap<WayName, readonly Sample[]>;

/** What is set in proportion to the bare proxy. */
const compared = [
  "evenRequestUs",
  "requestUs",
  "frameUs",
  "stepFrameUs",
  "instructionsPerRequest",
  "instructionsPerFrame",
] as const;

/** How many times the bare proxy's figure, round by round: what slows the machine for a while slows both. */
export function ratioToBare(samples: Samples, name: WayName, metric: Metric): Spread | undefined {
  const of = (other: WayName) => (samples.get(other) ?? []).map((sample) => sample[metric] ?? Number.NaN);
  const [one, again] = [of("bare proxy"), of("bare proxy again")];
  // The two of them are compared with each other: what differs there is noise.
  const base = name.startsWith("bare") ? one : one.map((value, at) => (value + (again[at] ?? value)) / 2);
  return spreadOf(of(name).map((value, at) => value / (base[at] ?? Number.NaN)));
}

/** A column for each way; the median, and in brackets the lowest and the highest of the rounds. */
export function table(samples: Samples): string {
  const names = [...samples.keys()];
  const rows: string[][] = [["", ...names]];
  for (const [metric, [label, digits]] of Object.entries(metrics) as [Metric, readonly [string, number]][]) {
    const cells = names.map((name) => cell(figures(samples, name, metric), digits));
    if (cells.some((text) => text !== "")) rows.push([label, ...cells]);
    if (!(compared as readonly Metric[]).includes(metric)) continue;
    const ratios = names.map((name) => cell(name === "mock alone" ? undefined : ratioToBare(samples, name, metric), 2));
    if (ratios.some((text) => text !== "")) rows.push(["  times the bare proxy's", ...ratios]);
  }
  return aligned(rows);
}

/** Every figure with its spread, and the ratios, for machines; to four digits. */
export function json(samples: Samples): object {
  const round = (spread: Spread | undefined) =>
    spread && Object.fromEntries(Object.entries(spread).map(([name, value]) => [name, Number(value.toPrecision(4))]));
  const ways = [...samples.keys()].map((name) => [
    name,
    {
      ...Object.fromEntries(
        (Object.keys(metrics) as Metric[]).map((metric) => [metric, round(figures(samples, name, metric))]),
      ),
      timesBare: Object.fromEntries(compared.map((metric) => [metric, round(ratioToBare(samples, name, metric))])),
    },
  ]);
  return Object.fromEntries(ways);
}

function figures(samples: Samples, name: WayName, metric: Metric): Spread | undefined {
  return spreadOf((samples.get(name) ?? []).map((sample) => sample[metric] ?? Number.NaN));
}

function cell(spread: Spread | undefined, digits: number): string {
  if (spread === undefined) return "";
  const [median, min, max] = [spread.median, spread.min, spread.max].map((value) => value.toFixed(digits));
  return min === max ? `${median}` : `${median} (${min}-${max})`;
}

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
