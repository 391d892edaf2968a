import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { Pool } from "undici";
import type { AttemptSink } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { systemIds } from "../../services/runtime/ids.ts";
import { attemptOf, type EngineWay, isGrpc, modelOf, targetAt, wayNamed } from "./engine-ways.ts";
import { anew, recordRequest } from "./recorded-request.ts";

// Clients of engines as a process of its own, so that what they cost can be told: `driver`, whose events are counted and
// dropped, or `bare`, which looks into nothing that comes: messages of grpc-js, chunks of undici. Its arguments are which
// of them, how many tokens a stream has, and for each way its name and its engine. It is asked by POST:
//   /streams?way=NAME&count=N  runs so many at once, and answers what came of them
//   /pipe?way=NAME             runs one, and answers with its bytes as they come (bare only)

/** Runs one stream to its end. Rejects if it failed. */
type Run = (take: (piece: Buffer | undefined) => void) => Promise<void>;

async function driverOf(way: EngineWay, url: string, tokens: number): Promise<Run> {
  const driver = openDriver(way.dialect, targetAt(url));
  const model = await modelOf(way, driver);
  return (take) =>
    new Promise((resolve, reject) => {
      const sink: AttemptSink = {
        event({ event }) {
          if (event.case === "delta") take(undefined);
        },
        turn() {},
        lingers() {},
        end: resolve,
        fail: reject,
        full: () => false,
        resume: undefined,
      };
      driver.generate(attemptOf(way, model, systemIds.uuidv7(), tokens), sink);
    });
}

async function bareGrpc(way: EngineWay, url: string, tokens: number): Promise<Run> {
  const recorded = await recordRequest(way, url, tokens);
  const client = new Client(new URL(url).host, credentials.createInsecure());
  const same = (bytes: Buffer) => bytes;
  return (take) =>
    new Promise((resolve, reject) => {
      const { path, headers, bytes } = anew(recorded);
      const metadata = new Metadata();
      for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
      const call = client.makeServerStreamRequest(path, same, same, bytes, metadata);
      call.on("data", take);
      call.on("end", resolve);
      call.on("error", reject);
    });
}

async function bareHttp(way: EngineWay, url: string, tokens: number): Promise<Run> {
  const recorded = await recordRequest(way, url, tokens);
  const pool = new Pool(new URL(url).origin, { connections: 1_024, pipelining: 1 });
  return (take) =>
    new Promise((resolve, reject) => {
      const { path, headers, bytes } = anew(recorded);
      pool.dispatch(
        { method: "POST", path, headers, body: bytes },
        {
          onRequestStart() {},
          onResponseStart(_controller, status) {
            if (status !== 200) reject(new Error(`${way.name} answered ${status}`));
          },
          onResponseData: (_controller, piece) => take(piece),
          onResponseEnd: () => resolve(),
          onResponseError: (_controller, error) => reject(error),
        },
      );
    });
}

/** What streams that ran at once came to. */
export interface StreamsRun {
  /** Events of a driver, messages or chunks without one. */
  readonly pieces: number;
  readonly failures: readonly string[];
}

async function runStreams(run: Run, count: number): Promise<StreamsRun> {
  let pieces = 0;
  const each = () =>
    run(() => {
      pieces += 1;
    });
  const ends = await Promise.allSettled(Array.from({ length: count }, each));
  return { pieces, failures: ends.flatMap((end) => (end.status === "rejected" ? [String(end.reason)] : [])) };
}

async function pipe(run: Run, response: ServerResponse): Promise<void> {
  response.writeHead(200, { "content-type": "application/octet-stream" });
  try {
    await run((piece) => piece && response.write(piece));
    response.end();
  } catch {
    response.destroy();
  }
}

async function runsOf([kind, tokens, ...rest]: readonly string[]): Promise<ReadonlyMap<string, Run>> {
  const runs = new Map<string, Run>();
  for (let at = 0; at < rest.length; at += 2) {
    const way = wayNamed(rest[at] ?? "");
    const open = kind === "driver" ? driverOf : isGrpc(way) ? bareGrpc : bareHttp;
    runs.set(way.name, await open(way, rest[at + 1] ?? "", Number(tokens)));
  }
  return runs;
}

const runs = await runsOf(process.argv.slice(2));

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? "", "http://bench");
  request.resume();
  const run = runs.get(searchParams.get("way") ?? "");
  if (run === undefined) response.writeHead(404).end();
  else if (pathname === "/pipe") await pipe(run, response);
  else response.end(JSON.stringify(await runStreams(run, Number(searchParams.get("count")))));
}

const server = createServer((request, response) => void answer(request, response)).listen(0, "127.0.0.1");
await once(server, "listening");
process.stdout.write(`${JSON.stringify({ ports: [(server.address() as AddressInfo).port] })}\n`);
// In order, so that a profile is written.
process.once("SIGTERM", () => process.exit(0));
