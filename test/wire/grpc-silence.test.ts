import { create } from "@bufbuild/protobuf";
import { afterAll, describe, expect, test } from "vitest";
import { ReplicaModelSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { GenerationCall } from "../../services/drivers/grpc/call.ts";
import { type Channel, openChannel, type Rpc } from "../../services/drivers/grpc/channel.ts";
import { framed } from "../../services/drivers/grpc/message-frames.ts";
import { failureFromStatus } from "../../services/drivers/grpc/status.ts";
import type { StatusError } from "../../services/drivers/grpc/status-error.ts";
import type { Call } from "../../services/drivers/grpc/stream-call.ts";
import { askOnce } from "../../services/drivers/grpc/unary.ts";
import { Health, HealthCheckResponse_ServingStatus } from "../../gen/ts/grpc/health/v1/health_pb.ts";
import { startCutProxy } from "../fakes/cut-proxy.ts";
import { startFakeGrpc } from "../fakes/fake-grpc.ts";
import {
  dataFrame,
  type FrameConnection,
  type FrameServer,
  goaway,
  responseHeaders,
  startFrameServer,
} from "../fakes/frame-server.ts";
import { endHeaders, endStream, frame, frameType, literals } from "../fakes/raw-http2.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import { attemptAt, Outcome, targetAt } from "./attempts.ts";
import { calm, failureOf } from "./unary-calls.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const rpc: Rpc<Buffer, Buffer> = { path: "/test/Stream", write: (bytes) => bytes, read: (bytes) => bytes };
const message = framed(Buffer.from("a token"));
const ackFlag = 0x1;
const ping = frame(frameType.ping, 0, 0, Buffer.alloc(8));

interface World {
  readonly server: FrameServer;
  readonly channel: Channel;
  readonly clock: SimulatedClock;
  /** What was told of each call, in the order of the calls. */
  readonly told: string[][];
  /** Makes a call. Resolves when its request has come whole, on that connection. */
  call(connection: number, stream: number): Promise<{ readonly call: Call; readonly connection: FrameConnection }>;
}

async function serve(): Promise<World> {
  const server = cleanup.use(await startFrameServer());
  const clock = new SimulatedClock();
  const channel = cleanup.use(openChannel(targetAt(server.url, { clock })));
  const told: string[][] = [];
  return {
    server,
    channel,
    clock,
    told,
    async call(index, stream) {
      const heard: string[] = [];
      told.push(heard);
      const call = channel.send(rpc, Buffer.from("a question"), {
        onMessage: () => heard.push("message"),
        onEnd: () => heard.push("end"),
        onError: ({ code }: StatusError) => heard.push(`error ${code}`),
      });
      const connection = await server.connection(index);
      await connection.until((frames) => frames.some((one) => one.stream === stream && (one.flags & endStream) !== 0));
      // The client has read what the server has sent so far.
      await isRead(connection);
      return { call, connection };
    },
  };
}

function pingsOf({ frames }: FrameConnection, flags: number): readonly Buffer[] {
  return frames.filter((one) => one.type === frameType.ping && one.flags === flags).map(({ payload }) => payload);
}

/** Sends bytes, and waits until the client has read them: it answers a ping in its turn. */
async function isRead(connection: FrameConnection, ...bytes: readonly Buffer[]): Promise<void> {
  const before = pingsOf(connection, ackFlag).length;
  connection.send(...bytes, ping);
  await connection.until(() => pingsOf(connection, ackFlag).length > before);
}

/** Ends a call well. */
function trailers(stream: number): Buffer {
  return frame(frameType.headers, endHeaders | endStream, stream, literals([["grpc-status", "0"]]));
}

/** Ends a call by an INTERNAL_ERROR of HTTP/2. */
function reset(stream: number): Buffer {
  return frame(frameType.rstStream, 0, stream, Buffer.from("00000002", "hex"));
}

/** A call that was answered. */
async function answered({ call }: World): Promise<FrameConnection> {
  const { connection } = await call(0, 1);
  await isRead(connection, responseHeaders(1), dataFrame(1, message), trailers(1));
  return connection;
}

test("a connection that nobody used for 30 s is not used again, whatever the server pinged meanwhile", async () => {
  const world = await serve();
  const connection = await answered(world);
  world.clock.advance(29_000);
  await isRead(connection);
  world.clock.advance(1_000);
  await world.call(1, 1);
  await connection.closed;
  expect(world.told[0]).toEqual(["message", "end"]);
});

test("one that was used since is", async () => {
  const world = await serve();
  await answered(world);
  world.clock.advance(29_000);
  const { connection } = await world.call(0, 3);
  await isRead(connection, responseHeaders(3), dataFrame(3, message), trailers(3));
  world.clock.advance(29_000);
  await world.call(0, 5);
  expect(pingsOf(connection, 0)).toHaveLength(0);
});

test("calls that hear nothing for 10 s end where a ping has no answer, and new ones go elsewhere", async () => {
  const world = await serve();
  const { connection } = await world.call(0, 1);
  await world.clock.advanceAsync(2_000);
  await world.clock.advanceAsync(10_000);
  await connection.until(() => pingsOf(connection, 0).length === 1);
  await world.call(1, 1);
  await world.clock.advanceAsync(10_000);
  await connection.closed;
  expect(world.told).toEqual([["error 14"], []]);
});

test("they go on where it has one, and the server is pinged once only", async () => {
  const world = await serve();
  const { connection } = await world.call(0, 1);
  await world.clock.advanceAsync(2_000);
  await world.clock.advanceAsync(10_000);
  await connection.until(() => pingsOf(connection, 0).length === 1);
  await isRead(connection, frame(frameType.ping, ackFlag, 0, pingsOf(connection, 0)[0]));
  await world.clock.advanceAsync(300_000);
  connection.send(responseHeaders(1), dataFrame(1, message), trailers(1));
  await connection.closed;
  expect(world.told).toEqual([["message", "end"]]);
  expect(pingsOf(connection, 0)).toHaveLength(1);
});

test("one that the server resets, the last on such a connection, was reset: nothing is lost", async () => {
  const world = await serve();
  const { connection } = await world.call(0, 1);
  await world.clock.advanceAsync(2_000);
  await world.clock.advanceAsync(10_000);
  await connection.until(() => pingsOf(connection, 0).length === 1);
  connection.send(responseHeaders(1), dataFrame(1, message), reset(1));
  await connection.closed;
  expect(world.told).toEqual([["message", "error 13"]]);
});

test("one that the server resets after it wants no more of them was reset, and one that it did not look at was refused", async () => {
  const world = await serve();
  const { connection } = await world.call(0, 1);
  await world.call(0, 3);
  await world.call(0, 5);
  await isRead(connection, goaway(3));
  expect(world.told).toEqual([[], [], ["error 14"]]);
  await isRead(connection, reset(1));
  connection.send(reset(3));
  await connection.closed;
  expect(world.told).toEqual([["error 13"], ["error 13"], ["error 14"]]);
});

test("after a call that was given up in a silence the next one goes elsewhere", async () => {
  const world = await serve();
  await answered(world);
  const { call: quick } = await world.call(0, 3);
  quick.cancel();
  const { call: patient } = await world.call(0, 5);
  world.clock.advance(2_000);
  world.clock.advance(2_000);
  patient.cancel();
  await world.call(1, 1);
  expect(world.told).toEqual([["message", "end"], [], [], []]);
});

/** A generation, which ends with its first message. Gives the reason that it fails for, or "none". */
async function generation({ channel, server, clock }: World): Promise<string> {
  const outcome = new Outcome();
  const call = new GenerationCall({
    channel,
    target: targetAt(server.url, { clock }),
    attempt: attemptAt(create(ReplicaModelSchema)),
    sink: outcome,
    streams: true,
    ignored: [],
  });
  call.start(rpc, Buffer.from("a prompt"), {
    message: () => call.answer.finish(0, FinishReason.STOP),
    failureFrom: failureFromStatus,
  });
  await outcome.done;
  return outcome.reason ?? "none";
}

/** The same of a question that has one answer. */
async function question({ channel, server, clock }: World): Promise<string> {
  const target = targetAt(server.url, { clock });
  const asked = { channel, target, rpc, request: Buffer.from("a text"), model: "m", failureFrom: failureFromStatus };
  return (await failureOf(askOnce(asked, calm))).reason;
}

describe.each([
  ["a generation", generation],
  ["a question", question],
])("%s", (_, ask) => {
  test("goes on where its connection is young and not used again", async () => {
    const world = await serve();
    const asked = ask(world);
    const connection = await world.server.connection(0);
    const { call: patient } = await world.call(0, 3);
    const { call: quick } = await world.call(0, 5);
    quick.cancel();
    world.clock.advance(2_000);
    patient.cancel();
    world.clock.advance(1_000);
    await world.call(1, 1);
    connection.send(responseHeaders(1), dataFrame(1, message), trailers(1));
    expect(await asked).toBe("none");
  });

  test("is lost with its connection, also where the server wanted no more on it", async () => {
    const world = await serve();
    const asked = ask(world);
    const connection = await world.server.connection(0);
    await connection.until((frames) => frames.some(({ stream, flags }) => stream === 1 && (flags & endStream) !== 0));
    await isRead(connection, goaway(1));
    await world.server[Symbol.asyncDispose]();
    expect(await asked).toBe("ENGINE_UNAVAILABLE");
  });

  test("fails where no connection comes to stand within 3 s", async () => {
    const world = await serve();
    const asked = ask(world);
    world.clock.advance(3_000);
    expect(await asked).toBe("ENGINE_UNAVAILABLE");
    expect(world.clock.pendingTimers).toBe(0);
  });
});

test("a question of a probe that had no answer is asked again on another connection", async () => {
  const server = cleanup.use(
    await startFakeGrpc((call) => {
      // A HealthCheckResponse that says SERVING.
      call.send(Buffer.from([0x08, HealthCheckResponse_ServingStatus.SERVING]));
      call.end();
    }),
  );
  const proxy = cleanup.use(await startCutProxy({ host: "127.0.0.1", port: Number(new URL(server.url).port) }));
  const channel = cleanup.use(openChannel(targetAt(`grpc://127.0.0.1:${proxy.port}`)));
  const ask = (timeoutMs: number) =>
    channel.ask(Health.method.check, { service: "" }, new AbortController().signal, timeoutMs);
  await ask(10_000);
  proxy.strand();
  await expect(ask(2_500)).rejects.toThrow("nobody waits for the answer");
  expect((await ask(10_000)).status).toBe(HealthCheckResponse_ServingStatus.SERVING);
});
