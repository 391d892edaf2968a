import { connect } from "node:http2";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { defaults } from "../../services/runtime/config/defaults.ts";
import { openAdminServer } from "../../services/runtime/server/admin.ts";
import { healthRoutes } from "../../services/runtime/server/health.ts";
import { openMeshListener } from "../../services/runtime/server/mesh-listener.ts";
import { type Listener, openPublicServer } from "../../services/runtime/server/public.ts";
import { rpcAdapter } from "../../services/runtime/server/rpc-adapter.ts";
import { createLog } from "../../services/runtime/telemetry/log.ts";
import { rawHttp } from "../fakes/raw-http.ts";
import { endHeaders, endStream, frame, frameType, literals, rawHttp2 } from "../fakes/raw-http2.ts";

/** An RPC that every listener serves to everybody. */
const path = "/grpc.health.v1.Health/Check";
const host = "127.0.0.1";
const clock = systemClock;

let api: Listener;
let admin: Listener;
let mesh: Listener;

beforeAll(async () => {
  const rpc = rpcAdapter({
    routes: healthRoutes({ services: () => [], ready: () => true, clock }),
    clock,
    requestTimeoutMs: 30_000,
    fallback: (_request, response) => response.end(),
  });
  const http = { ...defaults.http, trustedProxies: [] };
  api = await openPublicServer({ host, port: 0, http, clock, apps: [], rpc, onRefused: () => undefined });
  const log = createLog("error");
  admin = await openAdminServer({ host, port: 0, log, metrics: () => Promise.resolve(""), notReady: () => ({}), rpc });
  mesh = await openMeshListener({ host, port: 0, clock, rpc });
});
afterAll(() => Promise.all([api, admin, mesh].map((listener) => listener[Symbol.asyncDispose]())));

const post = (version: string, headers: string) =>
  `POST ${path} HTTP/${version}\r\n${headers}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`;

/** The status of one request over HTTP/1. */
async function status1(port: number, bytes: string): Promise<number | undefined> {
  const { answers } = await rawHttp(port, bytes, { answers: 1, patienceMs: 2_000 });
  return answers[0]?.status;
}

/** The status of one request over HTTP/2, on a session of its own. */
function status2(port: number, authority: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const session = connect(`http://127.0.0.1:${port}`);
    session.on("error", reject);
    const headers = { ":method": "POST", ":path": path, ":authority": authority, "content-type": "application/json" };
    const stream = session.request(headers);
    stream.on("error", reject);
    stream.on("response", (answer) => resolve(Number(answer[":status"])));
    stream.on("close", () => session.close());
    stream.resume();
    stream.end("{}");
  });
}

/** They have the form of a host and are none. */
const badHosts = ["a:99999", "[::::]", "1.2.3.4.5", "256.1.1.1"];

describe("an RPC for a host that is none is refused, and the next one is answered", () => {
  it.each(badHosts)("over HTTP/1.1: %s", async (bad) => {
    for (const { port } of [api, admin]) {
      expect(await status1(port, post("1.1", `Host: ${bad}\r\n`))).toBe(400);
      expect(await status1(port, post("1.1", "Host: a\r\n"))).toBe(200);
    }
  });

  it("over HTTP/1.0 without a host", async () => {
    for (const { port } of [api, admin]) {
      expect(await status1(port, post("1.0", ""))).toBe(400);
      expect(await status1(port, post("1.0", "Host: a\r\n"))).toBe(200);
    }
  });

  it.each(badHosts)("over HTTP/2: %s", async (bad) => {
    for (const { port } of [api, mesh]) {
      expect(await status2(port, bad)).toBe(400);
      expect(await status2(port, "a")).toBe(200);
    }
  });

  it("over HTTP/2 without an authority", async () => {
    const headers = literals([
      [":method", "POST"],
      [":scheme", "http"],
      [":path", path],
    ]);
    for (const { port } of [api, mesh]) {
      const bytes = frame(frameType.headers, endHeaders | endStream, 1, headers);
      const exchange = await rawHttp2(port, [bytes], 500);
      expect(exchange.answered.has(1) || exchange.resets.has(1)).toBe(true);
      expect(await status2(port, "a")).toBe(200);
    }
  });
});
