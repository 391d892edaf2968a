import { readFileSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { expect } from "vitest";
import { ErrorDetailSchema, ErrorReasonSchema } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { openFolder } from "../fakes/open-folder.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { startWeirProcess, type WeirProcess } from "../fakes/weir-process.ts";
import { expectAnswer, type Row, send } from "../wire/edge-row.ts";

/** The whole gateway and an engine as processes of their own, to be asked what they must not be asked. */
export interface BadInputGateway extends AsyncDisposable {
  readonly weir: WeirProcess;
  readonly simulator: SimulatorProcess;
  readonly url: string;
  readonly port: number;
  /** The key of the first project, which may do everything. */
  readonly key: string;
  /** Calls an RPC by Connect's JSON. */
  rpc(method: string, body: object | string, more?: RpcOptions): Promise<Response>;
  /** Makes a key; members are those of CreateKeyRequest. */
  createKey(members?: object): Promise<MadeKey>;
  /** Requests that the engine took, by its own record. */
  received(): number;
  /** Times that the auth service was asked about a key. */
  lookUps(): Promise<number>;
}

export interface RpcOptions {
  readonly key?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface MadeKey {
  readonly id: string;
  readonly secret: string;
}

/** A text that stands in bodies and must never stand in a log. */
export const canary = "canary-5f1c83d2";

/** Room for one hard test: bodies of 8 MiB, parsed and collected. */
const grownKibMax = 400 * 1024;

/** The engines' part of a configuration, which knows where the simulator listens. */
export type Engines = (simulator: SimulatorProcess) => string;

/** One model of the simulator's. */
const oneModel: Engines = ({ httpUrl }) =>
  `pools: [{ id: sim, replicas: [{ url: "${httpUrl}" }] }]\nmodels: [{ id: weir-sim, pool: sim }]\n`;

/** Starts both. Times of the public port are short, and 127.0.0.1 is believed whom it speaks for. */
export async function startBadInputGateway(engines: Engines = oneModel): Promise<BadInputGateway> {
  await using opened = new AsyncDisposableStack();
  const folder = await openFolder("weir-bad-input-");
  opened.defer(() => rm(folder, { recursive: true, force: true }));
  const simulator = opened.use(
    await startSimulatorProcess(["--context", "2048", "--decode-ms", "5", "--model", "weir-sim", "--model", "premium"]),
  );
  const file = join(folder, "weir.yaml");
  // At level debug it tells of every request.
  await writeFile(file, `log: { level: debug }\n${bounds}${engines(simulator)}`);
  const weir = opened.use(await startWeirProcess({ args: ["--config", file], dataDir: join(folder, "data") }));
  const running = opened.move();
  const { url, key } = weir;
  const before = residentKib(weir.pid);
  const received = () => simulator.record().filter(({ event }) => event === "received").length;
  const rpc: BadInputGateway["rpc"] = (method, body, more = {}) =>
    send(url, { path: `/${method}`, body, key: more.key === undefined ? key : more.key, headers: more.headers ?? {} });
  return {
    weir,
    simulator,
    url,
    port: Number(new URL(url).port),
    key,
    rpc,
    received,
    async createKey(members = {}) {
      const response = await rpc("weir.auth.v1.KeyService/CreateKey", {
        requestId: crypto.randomUUID(),
        name: "team",
        ...members,
      });
      const made = JSON.parse(await response.text());
      expect([response.status, made.message]).toEqual([200, undefined]);
      return { id: made.key.id, secret: made.secret };
    },
    async lookUps() {
      const text = await (await fetch(`${weir.adminUrl}/metrics`)).text();
      const lines = text.match(/^weir_rpc_total\{method="[^"]*AuthService\/Authenticate".*$/gm) ?? [];
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
    },
    async [Symbol.asyncDispose]() {
      try {
        await expectUnharmed(weir, before);
      } finally {
        await running.disposeAsync();
      }
    },
  };
}

/** Sends a row, holds the answer against it, and sees that no engine heard of it. Returns the answer's body. */
export async function expectRefused(gateway: BadInputGateway, row: Row): Promise<string> {
  const asked = gateway.received();
  const text = await expectAnswer(gateway.url, { key: gateway.key, ...row });
  expect(gateway.received()).toBe(asked);
  return text;
}

const bounds = `listen: { port: 0, admin_port: 0 }
http:
  trusted_proxies: ["127.0.0.1"]
  headers_timeout: 1s
  request_timeout: 3s
  slow_reader_timeout: 2s
probe: { interval: 1s, timeout: 1s }
`;

/** The process serves on, has not grown out of bounds, and its log is JSON lines without anything that was said. */
async function expectUnharmed(weir: WeirProcess, beforeKib: number): Promise<void> {
  const alive = await send(weir.url, {
    key: weir.key,
    body: { model: "weir-sim", messages: [{ role: "user", content: "hi" }] },
  });
  expect(alive.status).toBe(200);
  expect(residentKib(weir.pid) - beforeKib).toBeLessThan(grownKibMax);
  weir.kill("SIGTERM");
  expect(await weir.exited).toBe(0);
  const log = weir.log();
  expect(log).not.toContain(canary);
  expect(log).not.toMatch(/[^\P{Cc}\n]/u);
  const lines = log.split("\n").filter((line) => line !== "" && !line.startsWith("warning: "));
  for (const line of lines) expect(JSON.parse(line)).toHaveProperty("level");
  expect(lines.filter((line) => /"level":"(?:error|fatal)"/.test(line))).toEqual([]);
}

function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

/** What a failed call tells by Connect's JSON. */
export interface Told {
  readonly status: number;
  readonly code: string;
  readonly reason: string | undefined;
  readonly facts: Readonly<Record<string, string>>;
  readonly message: string;
}

/** Reads the error that an RPC was answered with. */
export async function toldBy(response: Response): Promise<Told> {
  expect(response.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  const { code, message = "", details = [] } = JSON.parse(await response.text());
  const value: unknown = details[0]?.value;
  const detail = typeof value === "string" ? fromBinary(ErrorDetailSchema, Buffer.from(value, "base64")) : undefined;
  return {
    status: response.status,
    code,
    message,
    reason: detail && ErrorReasonSchema.value[detail.reason]?.localName,
    facts: detail?.metadata ?? {},
  };
}
