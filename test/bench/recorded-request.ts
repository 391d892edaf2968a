import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { startFakeGrpc } from "../fakes/fake-grpc.ts";
import { attemptOf, type EngineWay, isGrpc, modelOf, targetAt } from "./engine-ways.ts";

/** What a driver sends of a generation. */
export interface RecordedRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The message, or the body. */
  readonly bytes: Buffer;
}

/** Every request has its id in these places: engines take one only once at a time. */
const idRecorded = "00000000-0000-7000-8000-000000000000";
let ordinal = 0;

/** What a way's driver sends to the engine for so many tokens: what goes without a driver says the same. */
export async function recordRequest(way: EngineWay, engineUrl: string, tokens: number): Promise<RecordedRequest> {
  await using atEngine = openDriver(way.dialect, targetAt(engineUrl));
  const model = await modelOf(way, atEngine);
  return isGrpc(way) ? await recordCall(way, model, tokens) : await recordExchange(way, model, tokens);
}

async function recordCall(way: EngineWay, model: ReplicaModel, tokens: number): Promise<RecordedRequest> {
  const { promise, resolve } = Promise.withResolvers<RecordedRequest>();
  await using fake = await startFakeGrpc(({ path, headers, request }) => {
    const own = Object.entries(headers).filter(([name]) => name === "authorization" || name.startsWith("x-"));
    resolve({ path, headers: Object.fromEntries(own.map(([name, value]) => [name, String(value)])), bytes: request });
  });
  return await sent(way, fake.url, model, tokens, promise);
}

async function recordExchange(way: EngineWay, model: ReplicaModel, tokens: number): Promise<RecordedRequest> {
  const { promise, resolve } = Promise.withResolvers<RecordedRequest>();
  const server = createServer((request) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { host: _, connection: __, ...headers } = request.headers;
      const own = Object.entries(headers).map(([name, value]) => [name, String(value)]);
      resolve({ path: request.url ?? "", headers: Object.fromEntries(own), bytes: Buffer.concat(chunks) });
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  try {
    return await sent(way, `http://127.0.0.1:${port}`, model, tokens, promise);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** The driver is gone when this returns, so nobody waits for an answer. */
async function sent(
  way: EngineWay,
  url: string,
  model: ReplicaModel,
  tokens: number,
  recorded: Promise<RecordedRequest>,
): Promise<RecordedRequest> {
  await using driver = openDriver(way.dialect, targetAt(url));
  const nobody = { event() {}, turn() {}, lingers() {}, end() {}, fail() {}, full: () => false, resume: undefined };
  driver.generate(attemptOf(way, model, idRecorded, tokens), nobody);
  return await recorded;
}

/** The request once more, with an id of its own. */
export function anew({ path, headers, bytes }: RecordedRequest): RecordedRequest {
  ordinal += 1;
  const id = idRecorded.slice(0, -8) + String(ordinal).padStart(8, "0");
  const own = Buffer.from(bytes);
  for (let at = own.indexOf(idRecorded); at >= 0; at = own.indexOf(idRecorded, at + 1)) own.write(id, at, "latin1");
  const entries = Object.entries(headers).map(([name, value]) => [name, value === idRecorded ? id : value]);
  return { path, headers: Object.fromEntries(entries), bytes: own };
}
