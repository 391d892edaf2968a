import { type ClientHttp2Session, connect } from "node:http2";
import { describe, expect, it, onTestFinished } from "vitest";
import { Health } from "../../gen/ts/grpc/health/v1/health_pb.ts";
import { defaults } from "../../services/runtime/config/defaults.ts";
import { healthRoutes, watchesMax } from "../../services/runtime/server/health.ts";
import { openPublicServer } from "../../services/runtime/server/public.ts";
import { reflectionRoutes } from "../../services/runtime/server/reflection.ts";
import { rpcAdapter } from "../../services/runtime/server/rpc-adapter.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";

const requestTimeoutMs = 7_000;
const check = "/grpc.health.v1.Health/Check";
const watch = "/grpc.health.v1.Health/Watch";
const reflect = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/** As many as the public port takes. */
const streamsPerSession = 128;

/** The RPCs that need no key, on a public port, and sessions of HTTP/2 to it. */
async function open() {
  const clock = new SimulatedClock();
  const http = { ...defaults.http, trustedProxies: [] };
  const rpc = rpcAdapter({
    routes: (router) => {
      healthRoutes({ services: () => [], ready: () => true, clock })(router);
      reflectionRoutes([Health])(router);
    },
    readMaxBytes: http.bodyBytesMax,
    clock,
    requestTimeoutMs,
    fallback: (_request, response) => response.end(),
  });
  const host = "127.0.0.1";
  const server = await openPublicServer({ host, port: 0, http, clock, apps: [], rpc, onRefused: () => undefined });
  const sessions: ClientHttp2Session[] = [];
  const startSession = () => {
    const session = connect(`http://127.0.0.1:${server.port}`);
    sessions.push(session);
    return session;
  };
  onTestFinished(async () => {
    for (const session of sessions) session.destroy();
    await server[Symbol.asyncDispose]();
  });
  const post = (path: string, type: string, session = startSession()) => {
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": type });
    stream.on("error", () => undefined);
    stream.resume();
    return stream;
  };
  return { clock, post, startSession };
}

/** A message of gRPC or of a Connect stream. */
function enveloped(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

const once = <T>(on: (listener: (value: T) => void) => unknown) => new Promise<T>((resolve) => void on(resolve));

describe("an RPC that needs no key", () => {
  it.each([check, watch, reflect])("takes no message above 4 KiB: %s", async (path) => {
    const { post } = await open();
    const stream = post(path, "application/grpc");
    const status = once<unknown>((listener) => {
      stream.on("response", (headers) => headers["grpc-status"] !== undefined && listener(headers["grpc-status"]));
      stream.on("trailers", (trailers: Record<string, unknown>) => listener(trailers["grpc-status"]));
    });
    // Field 1 in both: the name of the service, and the host.
    stream.write(enveloped(Buffer.concat([Buffer.from([0x0a, 0x80, 0x20]), Buffer.alloc(4_096, "a")])));
    expect(String(await status)).toBe("8");
  });

  it.each([check, reflect])("ends over HTTP/2 when its request is not complete in time: %s", async (path) => {
    const { clock, post } = await open();
    const stream = post(path, "application/grpc");
    const closed = once<void>((listener) => stream.on("close", listener));
    stream.write(Buffer.alloc(1));
    await expect.poll(() => clock.pendingTimers).toBe(1);
    clock.advance(requestTimeoutMs - 1);
    expect(clock.pendingTimers).toBe(1);
    clock.advance(1);
    await closed;
    expect(stream.rstCode).toBe(8);
    expect(clock.pendingTimers).toBe(0);
  });

  it("goes on for as long as it likes when its request is complete", async () => {
    const { clock, post } = await open();
    const stream = post(watch, "application/grpc");
    const answered = once<unknown>((listener) => stream.on("data", listener));
    stream.end(enveloped(Buffer.alloc(0)));
    await answered;
    await clock.advanceAsync(requestTimeoutMs * 2);
    expect(stream.closed).toBe(false);
    // The watch's own.
    expect(clock.pendingTimers).toBe(1);
  });
});

it("only so many watch the health at once, and a place is free when one leaves", async () => {
  const { clock, post, startSession } = await open();
  let session = startSession();
  const watchOne = async () => {
    const stream = post(watch, "application/grpc", session);
    const answered = once<"watching" | "refused">((listener) => {
      stream.on("data", () => listener("watching"));
      stream.on("end", () => listener("refused"));
    });
    stream.end(enveloped(Buffer.alloc(0)));
    return { stream, outcome: await answered };
  };
  const outcomes = new Set<string>();
  for (let count = 0; count < watchesMax; count += streamsPerSession) {
    session = startSession();
    for (const { outcome } of await Promise.all(Array.from({ length: streamsPerSession }, watchOne)))
      outcomes.add(outcome);
  }
  expect([...outcomes]).toEqual(["watching"]);
  session.destroy();
  session = startSession();
  await expect.poll(() => clock.pendingTimers).toBe(watchesMax - streamsPerSession);
  await Promise.all(Array.from({ length: streamsPerSession - 1 }, watchOne));
  const last = await watchOne();
  expect(last.outcome).toBe("watching");
  session = startSession();
  expect((await watchOne()).outcome).toBe("refused");
  last.stream.close();
  await expect.poll(async () => (await watchOne()).outcome).toBe("watching");
  expect((await watchOne()).outcome).toBe("refused");
});
