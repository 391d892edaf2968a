import { setTimeout as delay } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { type Channel, openChannel, type Rpc } from "../../services/drivers/grpc/channel.ts";
import { framed } from "../../services/drivers/grpc/message-frames.ts";
import type { StatusError } from "../../services/drivers/grpc/status-error.ts";
import type { Call } from "../../services/drivers/grpc/stream-call.ts";
import {
  dataFrame,
  type FrameConnection,
  type FrameServer,
  goaway,
  type ReceivedFrame,
  responseHeaders,
  type Settings,
  settingOf,
  startFrameServer,
} from "../fakes/frame-server.ts";
import { endStream, frame, frameType } from "../fakes/raw-http2.ts";
import { targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const cancelCode = 8;
const rpc: Rpc<Buffer, Buffer> = { path: "/test/Stream", write: (bytes) => bytes, read: (bytes) => bytes };
const message = framed(Buffer.from("a token"));

interface World {
  readonly server: FrameServer;
  readonly channel: Channel;
  /** What was told of each call, in the order of the calls. */
  readonly told: string[][];
  /** Makes a call, and hears of its messages. */
  call(onMessage?: () => void, request?: Buffer): Call;
  /** Makes the first call, whose request has come whole. */
  connected(): Promise<FrameConnection>;
}

async function serve(settings: Settings = {}): Promise<World> {
  const server = cleanup.use(await startFrameServer(settings));
  const channel = cleanup.use(openChannel(targetAt(server.url)));
  const told: string[][] = [];
  const call: World["call"] = (onMessage, request = Buffer.from("a question")) => {
    const heard: string[] = [];
    told.push(heard);
    return channel.send(rpc, request, {
      onMessage() {
        heard.push("message");
        onMessage?.();
      },
      onEnd: () => heard.push("end"),
      onError: ({ code }: StatusError) => heard.push(`error ${code}`),
    });
  };
  return {
    server,
    channel,
    told,
    call,
    async connected() {
      call();
      const connection = await server.connection(0);
      await requested(connection, 1);
      return connection;
    },
  };
}

/** Streams that were opened, in their order. */
function opened({ frames }: FrameConnection): readonly number[] {
  return frames.filter(({ type }) => type === frameType.headers).map(({ stream }) => stream);
}

/** The request of a stream has come to its end. */
function requested(connection: FrameConnection, stream: number): Promise<void> {
  return connection.until((frames) => frames.some((one) => one.stream === stream && (one.flags & endStream) !== 0));
}

const ping = frame(frameType.ping, 0, 0, Buffer.alloc(8));

/** The client has read what was sent: it answers a ping in its turn. */
async function isRead(connection: FrameConnection): Promise<void> {
  connection.send(ping);
  await answered(connection);
}

function answered(connection: FrameConnection): Promise<void> {
  return connection.until((frames) => frames.some(({ type }) => type === frameType.ping));
}

/** Waits for the resets of these streams. Returns what was cancelled of all, in the order of the streams. */
async function cancelled(connection: FrameConnection, ...streams: readonly number[]): Promise<readonly number[]> {
  const isReset = (frames: readonly ReceivedFrame[], stream: number) =>
    frames.some((one) => one.type === frameType.rstStream && one.stream === stream);
  await connection.until((frames) => streams.every((stream) => isReset(frames, stream)));
  const resets = connection.frames.filter(({ type }) => type === frameType.rstStream);
  return resets
    .map(({ stream, payload }) => (payload.readUInt32BE(0) === cancelCode ? stream : Number.NaN))
    .toSorted((a, b) => a - b);
}

describe("a call that is cancelled is reset at the server, or was never there", () => {
  test("before the connection stands: it is not sent, and does not keep the connection", async () => {
    const { server, channel, call, told } = await serve();
    const early = Array.from({ length: 40 }, () => call());
    for (const one of early) one.cancel();
    const other = call();
    const connection = await server.connection(0);
    await requested(connection, 1);
    expect(opened(connection)).toEqual([1]);
    other.cancel();
    expect(await cancelled(connection, 1)).toEqual([1]);
    channel[Symbol.dispose]();
    await connection.closed;
    expect(told.flat()).toEqual([]);
  });

  test("in the turn in which it is made", async () => {
    const { channel, call, connected } = await serve();
    const connection = await connected();
    const quick = Array.from({ length: 40 }, () => call());
    for (const one of quick) one.cancel();
    const last = call();
    await connection.until(() => (opened(connection).at(-1) ?? 0) > 80);
    const left = opened(connection).filter((stream) => stream > 1 && stream <= 81);
    expect(await cancelled(connection, ...left)).toEqual(left);
    last.cancel();
    channel[Symbol.dispose]();
    await connection.closed;
  });

  test("while it waits for a place among the server's streams", async () => {
    const { channel, call, connected } = await serve({ [settingOf.maxConcurrentStreams]: 1 });
    const connection = await connected();
    connection.send(responseHeaders(1));
    const waiting = Array.from({ length: 40 }, () => call());
    const last = call();
    for (const one of waiting) one.cancel();
    connection.send(frame(frameType.data, endStream, 1, message));
    await connection.until(() => opened(connection).length > 1);
    expect(opened(connection)).toEqual([1, 83]);
    last.cancel();
    expect(await cancelled(connection, 83)).toEqual([83]);
    channel[Symbol.dispose]();
    await connection.closed;
  });

  test("while its request waits for the server to read", async () => {
    const { server, call } = await serve({ [settingOf.initialWindowSize]: 100 });
    const sending = call(undefined, Buffer.alloc(10_000));
    const connection = await server.connection(0);
    await connection.until((frames) => frames.some(({ type }) => type === frameType.data));
    sending.cancel();
    expect(await cancelled(connection, 1)).toEqual([1]);
  });

  test.each<[string, readonly Buffer[], readonly string[]]>([
    ["before the server answers", [], []],
    ["after its headers", [responseHeaders(1)], []],
    ["after a message", [responseHeaders(1), dataFrame(1, message)], ["message"]],
    ["amid a message", [responseHeaders(1), dataFrame(1, message.subarray(0, 8))], []],
    ["after the server wants no more calls", [responseHeaders(1), dataFrame(1, message), goaway(1)], ["message"]],
  ])("%s", async (_, sent, heard) => {
    const { server, call, told } = await serve();
    const one = call();
    const connection = await server.connection(0);
    await requested(connection, 1);
    connection.send(...sent);
    await isRead(connection);
    one.cancel();
    expect(await cancelled(connection, 1)).toEqual([1]);
    expect(told).toEqual([heard]);
  });

  test("amid a frame", async () => {
    const { server, call, told } = await serve();
    const one = call();
    const connection = await server.connection(0);
    await requested(connection, 1);
    // They come in one piece, so the half frame is read when the ping is.
    connection.send(responseHeaders(1), ping, dataFrame(1, message).subarray(0, 14));
    await answered(connection);
    one.cancel();
    expect(await cancelled(connection, 1)).toEqual([1]);
    expect(told).toEqual([[]]);
  });

  test("while nobody reads what came", async () => {
    const { server, call, told } = await serve();
    const one = call();
    one.pause();
    const connection = await server.connection(0);
    await requested(connection, 1);
    const filled = Array.from({ length: 4 }, () => dataFrame(1, framed(Buffer.alloc(15_000))));
    connection.send(responseHeaders(1), ...filled);
    await isRead(connection);
    one.cancel();
    expect(await cancelled(connection, 1)).toEqual([1]);
    expect(told).toEqual([[]]);
  });

  test("by its own message, and all others with it", async () => {
    const { server, call, told } = await serve();
    const all: Call[] = [];
    const leave = () => {
      for (const one of all) one.cancel();
    };
    for (let at = 0; at < 40; at += 1) all.push(call(leave));
    const streams = all.map((_, at) => 2 * at + 1);
    const connection = await server.connection(0);
    await requested(connection, 79);
    connection.send(...streams.flatMap((stream) => [responseHeaders(stream), dataFrame(stream, message)]));
    expect(await cancelled(connection, ...streams)).toEqual(streams);
    expect(told.flat()).toEqual(["message"]);
  });

  test("40 at once, while the socket is full", async () => {
    const { server, call } = await serve({ [settingOf.initialWindowSize]: 64 * 1_048_576 });
    const all = Array.from({ length: 40 }, () => call());
    const connection = await server.connection(0);
    await requested(connection, 79);
    connection.pause();
    const window = Buffer.alloc(4);
    window.writeUInt32BE(64 * 1_048_576);
    connection.send(frame(frameType.windowUpdate, 0, 0, window));
    const large = call(undefined, Buffer.alloc(32 * 1_048_576));
    // Time for the socket to fill; with less of it the resets have less in front of them.
    await delay(100);
    for (const one of all) one.cancel();
    await delay(100);
    connection.resume();
    const streams = all.map((_, at) => 2 * at + 1);
    expect(await cancelled(connection, ...streams)).toEqual(streams);
    large.cancel();
  });

  test("after the session was replaced, at the one that has it", async () => {
    const { server, channel, call } = await serve();
    const old = call();
    const connection = await server.connection(0);
    await requested(connection, 1);
    connection.send(responseHeaders(1), goaway(1));
    await isRead(connection);
    const fresh = call();
    const next = await server.connection(1);
    await requested(next, 1);
    old.cancel();
    expect(await cancelled(connection, 1)).toEqual([1]);
    await connection.closed;
    fresh.cancel();
    expect(await cancelled(next, 1)).toEqual([1]);
    channel[Symbol.dispose]();
    await next.closed;
  });

  test("with the channel, whose connection then ends", async () => {
    const { channel, call, connected, told } = await serve();
    const connection = await connected();
    for (let at = 0; at < 39; at += 1) call();
    await requested(connection, 79);
    channel[Symbol.dispose]();
    await connection.closed;
    const streams = told.map((_, at) => 2 * at + 1);
    expect(await cancelled(connection, ...streams)).toEqual(streams);
    expect(told).toEqual(told.map(() => ["error 1"]));
  });
});
