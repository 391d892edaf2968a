import { text } from "node:stream/consumers";
import { Pool } from "undici";
import { eventsOf } from "../fakes/raw-request.ts";
import type { SimulatorProcess } from "../fakes/simulator-process.ts";
import { type Books, openBooks } from "./books.ts";
import { cpuOf } from "./cpu.ts";
import type { StreamsRun } from "./engine-client.ts";
import { type EngineWay, modelId, promptFor } from "./engine-ways.ts";
import { bearer } from "./load.ts";
import { type MeasuredScript, startScript } from "./processes.ts";
import { startWeir } from "./weir.ts";

/** A client without a look into what comes, a driver alone, the client behind `node:http`, the whole gateway. */
export const driverMeasures = ["bare", "driver", "pipe", "gateway"] as const;
export type DriverMeasure = (typeof driverMeasures)[number];

/** Runs so many streams of a way at once. Returns what a token cost in microseconds of CPU; throws if anything was lost. */
export type MeasureDriver = (way: EngineWay, measure: DriverMeasure, streams: number) => Promise<number>;

/** The most streams at once. */
const connectionsMax = 512;

/** Starts what is measured, each in a process on the measured core; they end with the stack. */
export async function startDriverMeasures(
  resources: AsyncDisposableStack,
  ways: readonly EngineWay[],
  engine: SimulatorProcess,
  tokens: number,
): Promise<MeasureDriver> {
  const engines = [String(tokens), ...ways.flatMap((way) => [way.name, engine[way.url]])];
  const bare = resources.use(await startScript("engine-client.ts", "measured", ["bare", ...engines]));
  const driver = resources.use(await startScript("engine-client.ts", "measured", ["driver", ...engines]));
  const weir = resources.use(await startWeir({ yaml: configFor(ways, engine) }, "measured"));
  const books = await openBooks(weir);
  const [toPipe, toGateway] = [poolTo(bare.url), poolTo(weir.url)];
  resources.defer(async () => void (await Promise.all([toPipe.close(), toGateway.close()])));
  const pids = { bare: bare.pid, driver: driver.pid, pipe: bare.pid, gateway: weir.pid };
  const runs: Readonly<Record<DriverMeasure, (way: EngineWay, streams: number) => Promise<void>>> = {
    bare: (way, streams) => runAt(bare, way, streams),
    driver: (way, streams) => runAt(driver, way, streams),
    pipe: async (way, streams) => {
      const lengths = await all(streams, () => pipeLength(toPipe, way));
      if (lengths.some((length) => length === 0)) throw new Error(`${way.name}: an empty answer through the pipe`);
    },
    gateway: (way, streams) => runThrough(toGateway, books, way, streams, tokens),
  };
  return async (way, measure, streams) => {
    const before = cpuOf(pids[measure]).ranUs;
    await runs[measure](way, streams);
    return (cpuOf(pids[measure]).ranUs - before) / (streams * tokens);
  };
}

function configFor(ways: readonly EngineWay[], engine: SimulatorProcess): string {
  const pools = ways.map(({ url }, at) => {
    return `  - { id: way-${at}, replicas: [{ url: "${engine[url]}" }], engine_key: good-key, concurrency_max: 1024 }`;
  });
  const models = ways.map(
    (way, at) => `  - { id: ${modelId(way)}, pool: way-${at}, engine_model: ${way.engineModel} }`,
  );
  return `pools:\n${pools.join("\n")}\nmodels:\n${models.join("\n")}\n`;
}

function poolTo(url: string): Pool {
  return new Pool(url, { connections: connectionsMax, pipelining: 1, bodyTimeout: 120_000, headersTimeout: 120_000 });
}

function all<T>(count: number, run: () => Promise<T>): Promise<readonly T[]> {
  return Promise.all(Array.from({ length: count }, run));
}

async function runAt({ url }: MeasuredScript, { name }: EngineWay, streams: number): Promise<void> {
  const query = new URLSearchParams({ way: name, count: String(streams) });
  const answer = await fetch(`${url}/streams?${query.toString()}`, { method: "POST" });
  const { pieces, failures } = (await answer.json()) as StreamsRun;
  if (failures.length > 0) throw new Error(`${name}: ${failures.length} streams failed, one with ${failures[0]}`);
  if (pieces % streams !== 0) throw new Error(`${name}: ${pieces} pieces of ${streams} streams that are all the same`);
}

async function pipeLength(pool: Pool, { name }: EngineWay): Promise<number> {
  const path = `/pipe?${new URLSearchParams({ way: name }).toString()}`;
  const { body } = await pool.request({ method: "POST", path });
  return (await text(body)).length;
}

/** Every stream is whole, and the ledger holds them all: until then the gateway has work with them. */
async function runThrough(pool: Pool, books: GatewayBooks, way: EngineWay, streams: number, tokens: number) {
  const prompt = promptFor(tokens);
  const asked = way.endpoint === "completions" ? { prompt } : { messages: [{ role: "user", content: prompt }] };
  const body = JSON.stringify({
    model: modelId(way),
    ...asked,
    stream: true,
    stream_options: { include_usage: true },
    temperature: 0,
    max_tokens: tokens,
  });
  const headers = { ...bearer(books.key), "content-type": "application/json" };
  const answers = await all(streams, async () => {
    const answer = await pool.request({ method: "POST", path: `/v1/${way.endpoint}`, headers, body });
    const whole = await text(answer.body);
    if (answer.statusCode !== 200) throw new Error(`${way.name}: ${answer.statusCode} ${whole}`);
    return eventsOf(whole);
  });
  const [first] = answers;
  const wrong = answers.find(
    ({ text: said, dones, errors }) => said !== first?.text || dones !== 1 || errors.length > 0,
  );
  if (wrong || first?.text === "") throw new Error(`${way.name}: not all streams came whole`);
  const usages = answers.map(({ usage }) => usage);
  books.owe({
    requests: streams,
    promptTokens: usages.reduce((sum, usage) => sum + (usage?.prompt_tokens ?? 0), 0),
    completionTokens: usages.reduce((sum, usage) => sum + (usage?.completion_tokens ?? 0), 0),
  });
  await books.settled();
}

type GatewayBooks = Books & { readonly key: string };
