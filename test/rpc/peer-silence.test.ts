import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { type Client, createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { weirErrorFrom } from "../../services/runtime/errors/fail.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { createPeerTransport, type PeerTransport } from "../../services/runtime/mesh/peer.ts";
import { withStream } from "../../services/runtime/mesh/with-stream.ts";
import { type CutProxy, startCutProxy } from "../fakes/cut-proxy.ts";
import { createHarness, type Harness, meshToken, principal } from "./harness.ts";
import { ProbeService } from "./gen/acceptance/v1/probe_service_pb.ts";

/** A way is to be found within 2 s; the rest is for a machine that is busy with other files. */
const patienceMs = 4_000;

let harness: Harness;
let proxy: CutProxy;
let peer: PeerTransport;
let client: Client<typeof ProbeService>;

beforeEach(async () => {
  harness = await createHarness("direct");
  proxy = await startCutProxy({ host: "127.0.0.1", port: Number(new URL(harness.meshUrl).port) });
  peer = createPeerTransport({ baseUrl: `http://127.0.0.1:${proxy.port}`, token: meshToken, clock: systemClock });
  client = createClient(ProbeService, peer);
});
afterEach(async () => {
  peer[Symbol.dispose]();
  await proxy[Symbol.asyncDispose]();
  await harness[Symbol.asyncDispose]();
});

/** Asks again and again, as services do that wait for nobody, until an answer comes. Returns how long that took. */
async function untilAnswered(): Promise<number> {
  const startMs = performance.now();
  for (;;) {
    const answered = await client.exchange({}, { timeoutMs: 200 }).then(
      () => true,
      () => false,
    );
    const tookMs = performance.now() - startMs;
    if (answered || tookMs > 2 * patienceMs) return tookMs;
    await delay(50);
  }
}

test("a connection that has fallen silent is given up for another", async () => {
  await client.exchange({});
  proxy.strand();
  expect(await untilAnswered()).toBeLessThan(patienceMs);
});

test("a call that waits on such a connection is told in the end", async () => {
  await client.exchange({});
  proxy.strand();
  const waiting = client.exchange({}).catch((thrown: unknown) => weirErrorFrom(thrown));
  expect(await untilAnswered()).toBeLessThan(patienceMs);
  // Its connection is given up for good 15 s after the last byte.
  expect(await waiting).toMatchObject({ reason: ErrorReason.SERVICE_UNAVAILABLE });
});

test("after a network that swallowed all is open again, calls are answered at once", async () => {
  await client.exchange({});
  proxy.silence();
  const answered = untilAnswered();
  await delay(3_000);
  proxy.open();
  await answered;
  expect(await untilAnswered()).toBeLessThan(patienceMs / 2);
});

test("a stream goes on where its connection was silent for a while only", async () => {
  const options = withCallOptions({ principal: principal() });
  const behaviour = { count: 300, bytes: 10_000 };
  const indexes = await withStream(
    undefined,
    (signal) => client.count({ behaviour }, { ...options, signal }),
    async (messages) => {
      const came: number[] = [];
      for await (const { index } of messages) {
        came.push(index);
        if (index > 0) continue;
        proxy.strand();
        await untilAnswered();
        proxy.open();
      }
      return came;
    },
  );
  expect(indexes).toHaveLength(300);
});

test("a peer that lets nobody connect is told within a second", async () => {
  await using mute = await startMute();
  using away = createPeerTransport({
    baseUrl: `http://127.0.0.1:${mute.port}`,
    token: meshToken,
    clock: systemClock,
  });
  const startMs = performance.now();
  const error = await createClient(ProbeService, away)
    .exchange({})
    .catch((thrown: unknown) => weirErrorFrom(thrown));
  expect(error).toMatchObject({ reason: ErrorReason.SERVICE_UNAVAILABLE });
  expect(performance.now() - startMs).toBeLessThan(patienceMs / 2);
});

/** A port whose system drops what asks to connect: its process stands still, and as many wait there as may. */
async function startMute(): Promise<AsyncDisposable & { readonly port: number }> {
  const script =
    'const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log(server.address().port))';
  const child: ChildProcess = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "ignore"] });
  const [printed] = (await once(child.stdout as NonNullable<ChildProcess["stdout"]>, "data")) as [Buffer];
  const port = Number(printed.toString());
  child.kill("SIGSTOP");
  const sockets: Socket[] = [];
  for (let connected = true; connected; ) {
    const socket = connect(port, "127.0.0.1").on("error", () => undefined);
    sockets.push(socket);
    connected = await Promise.race([once(socket, "connect").then(() => true), delay(300, false)]);
  }
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}
