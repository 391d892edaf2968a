import { connect as connectHttp2 } from "node:http2";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, expect, test, vi } from "vitest";
import { FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { accepted, finished, textDelta } from "../../services/drivers/events.ts";
import type { Timer } from "../../services/runtime/clock.ts";
import { type EdgeServer, type EdgeServerOptions, keys, startEdge } from "../fakes/edge-server.ts";
import type { Script } from "../fakes/scripted-model.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";

/** Counts the timers of readers. */
class CountingClock extends SimulatedClock {
  readersTimers = 0;

  override setTimer(delayMs: number, fire: () => void): Timer {
    if (delayMs === slowReaderTimeoutMs) this.readersTimers++;
    return super.setTimer(delayMs, fire);
  }
}

const clock = new CountingClock();
const slowReaderTimeoutMs = 20_000;
/** More than sockets hold on both sides. */
const long = 24 * 1024 * 1024;

let edge: EdgeServer;
const left: (() => unknown)[] = [];
afterEach(async () => {
  for (const leave of left.splice(0)) leave();
  await edge[Symbol.asyncDispose]();
  expect(clock.pendingTimers).toBe(0);
});

const until = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 5_000, interval: 5 });

/** An answer of so many characters, in one turn. */
const answers =
  (length: number): Script =>
  ({ sink }) => {
    sink.event(accepted());
    sink.event(textDelta(0, "x".repeat(length), 1));
    sink.event(finished(0, FinishReason.STOP));
    sink.turn();
    sink.end();
  };

async function start(script: Script, options: EdgeServerOptions = {}): Promise<void> {
  edge = await startEdge({ ...options, clock, script, http: { slowReaderTimeoutMs } });
}

const bodyOf = (stream: boolean) =>
  JSON.stringify({ model: "weir-sim", messages: [{ role: "user", content: "hi" }], stream });

function ask(stream: boolean): Socket {
  const socket = connect(edge.port, "127.0.0.1");
  left.push(() => socket.destroy());
  socket.on("error", () => undefined);
  send(socket, stream);
  return socket;
}

function send(socket: Socket, stream: boolean): void {
  const body = bodyOf(stream);
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${keys.good}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function askHttp2(port: number, stream: boolean, initialWindowSize: number) {
  const session = connectHttp2(`http://127.0.0.1:${port}`, { settings: { initialWindowSize } });
  left.push(() => session.destroy());
  session.on("error", () => undefined);
  const request = session.request({
    ":method": "POST",
    ":path": "/v1/chat/completions",
    authorization: `Bearer ${keys.good}`,
    "content-type": "application/json",
  });
  request.on("error", () => undefined);
  request.end(bodyOf(stream));
  return { session, request };
}

/** A connection in whose middle bytes towards the reader stop after the first. */
async function stuckRelay(): Promise<{ readonly port: number }> {
  const relay = createServer((near) => {
    const far = connect(edge.port, "127.0.0.1");
    left.push(() => {
      near.destroy();
      far.destroy();
    });
    near.pipe(far);
    far.once("data", () => far.pause());
    for (const socket of [near, far]) socket.on("error", () => undefined);
  });
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  left.push(() => relay.close());
  return { port: (relay.address() as AddressInfo).port };
}

const expectCutCounted = () => until(async () => expect(await edge.counted()).toContain('outcome="slow_reader"'));

/** Lets time pass once a timer waits for it. */
async function passTime(): Promise<void> {
  await until(() => expect(clock.pendingTimers).toBe(1));
  clock.advance(slowReaderTimeoutMs);
}

test.each([false, true])("a reader who never takes a whole answer is cut (streamed: %s)", async (stream) => {
  await start(answers(long));
  const socket = ask(stream);
  socket.pause();
  await until(() => expect(clock.pendingTimers).toBe(1));
  clock.advance(slowReaderTimeoutMs - 1);
  await new Promise((resolve) => setImmediate(resolve));
  expect(clock.pendingTimers).toBe(1);
  clock.advance(1);
  await expectCutCounted();
  let received = 0;
  socket.on("data", (chunk) => (received += chunk.length)).resume();
  await until(() => expect(socket.closed).toBe(true));
  expect(received).toBeLessThan(long);
});

test.each([
  ["long", false, long],
  ["short", false, 10],
  ["streamed", true, 1_000],
])("a reader over HTTP/2 whose window is shut is cut: a %s answer", async (_name, stream, length) => {
  await start(answers(length), { protocol: "http2" });
  const { request } = askHttp2(edge.port, stream, 0);
  await passTime();
  await until(() => expect(request.rstCode).toBe(8));
  await expectCutCounted();
});

test("a connection of HTTP/2 that takes nothing is closed", async () => {
  await start(answers(long), { protocol: "http2" });
  const relay = await stuckRelay();
  askHttp2(relay.port, false, 2 ** 31 - 1);
  await passTime();
  await until(() => expect(clock.pendingTimers).toBe(1));
  clock.advance(slowReaderTimeoutMs);
  await expectCutCounted();
});

test.each(["http1", "http2"] as const)("a slow reader who takes some in time gets all over %s", async (protocol) => {
  await start(answers(long), { protocol });
  const source = protocol === "http1" ? ask(false) : askHttp2(edge.port, false, 65_535).request;
  let received = 0;
  for (let turns = 1; received < long; turns++) {
    // Far more time passes in all than a reader has who takes nothing.
    if (turns % 50 === 0) clock.advance(slowReaderTimeoutMs / 4);
    const chunk = await new Promise<Buffer>((resolve) => source.once("data", resolve).resume());
    source.pause();
    received += chunk.length;
  }
  source.resume();
  expect(await edge.counted()).not.toContain("slow_reader");
});

test.each(["http1", "http2"] as const)(
  "a short answer that is taken at once sets no timer over %s",
  async (protocol) => {
    await start(answers(10), { protocol });
    const before = clock.readersTimers;
    for (let i = 0; i < 5; i++) {
      const source = protocol === "http1" ? ask(false) : askHttp2(edge.port, false, 65_535).request;
      let text = "";
      source.on("data", (chunk: Buffer) => (text += chunk.toString()));
      await until(() => expect(text).toContain("xxxxxxxxxx"));
    }
    expect(clock.readersTimers).toBe(before);
  },
);
