import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { startSimulatorProcess } from "../fakes/simulator-process.ts";
import { cpuOfOthersUs } from "./cpu.ts";
import { type DriverMeasure, driverMeasures, startDriverMeasures } from "./driver-measures.ts";
import { type EngineWay, engineWays } from "./engine-ways.ts";
import { type Spread, spreadOf } from "./statistics.ts";

/** Tokens a stream, and how far apart the engine says them. */
const tokens = 64;
const paceMs = 10;

/** Microseconds of CPU a token, by way and measure, in the order of the rounds. */
type Figures = ReadonlyMap<EngineWay, Readonly<Record<DriverMeasure, number[]>>>;

/**
 * What a streamed token costs, engine by engine: in the driver alone beside the barest client of the same protocol, and
 * through the whole gateway beside the barest pipe. In turns in one run; the README here tells how to read it.
 */
export async function drivers(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: "string", default: "8" },
      streams: { type: "string", default: "32" },
      warm: { type: "string", default: "256" },
      engine: { type: "string", multiple: true },
    },
  });
  const [rounds, streams, warming] = [values.rounds, values.streams, values.warm].map(Number);
  if (!rounds || !streams || warming === undefined) throw new Error("--rounds and --streams take a number above 0");
  const ways = engineWays.filter(({ name }) => values.engine?.some((part) => name.includes(part)) ?? true);

  await using resources = new AsyncDisposableStack();
  const pace = ["--decode-ms", String(paceMs), "--prefill-ms", "0.01", "--slots", "512"];
  const engine = resources.use(await startSimulatorProcess(pace));
  const measured = await startDriverMeasures(resources, ways, engine, tokens);
  const figures: Figures = new Map(ways.map((way) => [way, { bare: [], driver: [], pipe: [], gateway: [] }]));
  for (const way of ways) for (const measure of driverMeasures) await measured(way, measure, warming);
  const [beganMs, othersUs] = [performance.now(), cpuOfOthersUs(process.pid)];
  for (let round = 0; round < rounds; round += 1) {
    for (const measure of driverMeasures)
      for (const way of inTurn(ways, round)) figures.get(way)?.[measure].push(await measured(way, measure, streams));
  }
  const machineUs = (performance.now() - beganMs) * 1_000 * cpus().length;
  const othersPercent = Math.round(((cpuOfOthersUs(process.pid) - othersUs) / machineUs) * 100);
  const rows = ways.map((way) => ({ engine: way.name, ...rowOf(figures, way) }));
  console.table(Object.fromEntries(rows.map(({ engine: name, ...row }) => [name, shown(row)])));
  console.log(`Others had ${othersPercent} % of the machine.`);
  console.log(json({ bench: "drivers", rounds, streams, tokens, paceMs, othersPercent, rows }));
}

/** Another one begins each round, so that nobody always comes after the same. */
function inTurn(ways: readonly EngineWay[], round: number): readonly EngineWay[] {
  const first = round % ways.length;
  return [...ways.slice(first), ...ways.slice(0, first)];
}

type Row = Readonly<Record<keyof typeof titles, Spread | undefined>>;

const titles = {
  bare: "bare client, us",
  driver: "driver, us",
  timesBare: "times bare",
  driverTimesOpenai: "times OpenAI's",
  pipe: "bare pipe, us",
  gateway: "gateway, us",
  timesPipe: "times pipe",
  gatewayTimesOpenai: "times OpenAI's gateway",
};

/** Proportions are of one round: what slows the machine for a while slows both. */
function rowOf(figures: Figures, way: EngineWay): Row {
  const of = (measure: DriverMeasure, other = way) => figures.get(other)?.[measure] ?? [];
  const [openai = way] = figures.keys();
  const times = (values: readonly number[], base: readonly number[]) =>
    spreadOf(values.map((value, at) => value / (base[at] ?? Number.NaN)));
  return {
    bare: spreadOf(of("bare")),
    driver: spreadOf(of("driver")),
    timesBare: times(of("driver"), of("bare")),
    driverTimesOpenai: times(of("driver"), of("driver", openai)),
    pipe: spreadOf(of("pipe")),
    gateway: spreadOf(of("gateway")),
    timesPipe: times(of("gateway"), of("pipe")),
    gatewayTimesOpenai: times(of("gateway"), of("gateway", openai)),
  };
}

/** The median, and in brackets the lowest and the highest of the rounds. */
function shown(row: Row): Readonly<Record<string, string>> {
  const cells = Object.entries(titles).map(([name, title]) => {
    const { median, min, max } = row[name as keyof Row] ?? { median: 0, min: 0, max: 0 };
    const digits = name.includes("imes") ? 2 : 1;
    const [middle, low, high] = [median, min, max].map((value) => value.toFixed(digits));
    return [title, `${middle} (${low}-${high})`];
  });
  return Object.fromEntries(cells);
}

/** Numbers to four digits. */
function json(value: object): string {
  return JSON.stringify(value, (_name, member: unknown) =>
    typeof member === "number" ? Number(member.toPrecision(4)) : member,
  );
}
