import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { afterEach, expect, test, vi } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { accepted, finished, textDelta } from "../../services/drivers/events.ts";
import type { Sink } from "../../services/runtime/mesh/push.ts";
import { detailOf, fail } from "../../services/runtime/errors/fail.ts";
import { type EdgeServer, type EdgeServerOptions, keys, startEdge } from "../fakes/edge-server.ts";
import { counts, says, type Script, words } from "../fakes/scripted-model.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";

let edge: EdgeServer;
afterEach(() => edge[Symbol.asyncDispose]());

const chat = { model: "weir-sim", messages: [{ role: "user", content: "hi" }] };

async function start(script: Script, options: EdgeServerOptions = {}): Promise<void> {
  edge = await startEdge({ ...options, script });
}

function post(
  body: object,
  init: { path?: string; key?: string; headers?: Record<string, string>; signal?: AbortSignal } = {},
) {
  return fetch(`${edge.url}${init.path ?? "/v1/chat/completions"}`, {
    method: "POST",
    headers: { authorization: `Bearer ${init.key ?? keys.good}`, "content-type": "application/json", ...init.headers },
    body: JSON.stringify(body),
    ...(init.signal ? { signal: init.signal } : {}),
  });
}

/** Bytes as they come over a socket, head included. */
class RawReader {
  text = "";
  closed = false;
  readonly socket: Socket;
  chunks = 0;

  constructor(body: object, path = "/v1/chat/completions") {
    const text = JSON.stringify(body);
    this.socket = connect(edge.port, "127.0.0.1", () => {
      this.socket.write(
        `POST ${path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${keys.good}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
      );
    });
    this.socket.on("data", (chunk) => {
      this.chunks++;
      this.text += chunk.toString();
    });
    this.socket.on("close", () => {
      this.closed = true;
    });
    this.socket.on("error", () => undefined);
  }
}

/** Says more until it stays unread: sockets on both sides hold some megabytes first. Returns how many pieces. */
async function fill(sink: Sink<GenerateResponse>): Promise<number> {
  let pieces = 0;
  for (let still = 0; still < 20; ) {
    if (sink.full()) {
      still++;
      await new Promise((resolve) => setTimeout(resolve, 5));
    } else {
      still = 0;
      pieces++;
      sink.event(textDelta(0, "x".repeat(10_000), 1));
      sink.turn();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  return pieces;
}

const until = (check: () => void, timeout = 5_000) => vi.waitFor(check, { timeout, interval: 2 });
const failed = (reason: ErrorReason): GenerateResponse => ({
  $typeName: "weir.router.v1.GenerateResponse",
  event: {
    case: "failed",
    value: { $typeName: "weir.router.v1.Failed", error: detailOf(fail(reason, { model: "weir-sim" })) },
  },
});

test("nothing is sent before the engine's first event, and the role with it", async () => {
  await start(() => undefined);
  const reader = new RawReader({ ...chat, stream: true });
  await until(() => expect(edge.calls).toHaveLength(1));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(reader.text).toBe("");
  const { sink } = edge.calls[0]!;
  sink.event(accepted());
  sink.turn();
  await until(() => expect(reader.text).toContain('"delta":{"role":"assistant"'));
  expect(reader.text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  expect(reader.text).not.toContain("[DONE]");
  reader.socket.destroy();
});

test("the head, the role and the first text of one turn are one write", async () => {
  await start(({ sink }) => {
    sink.event(accepted());
    sink.event(textDelta(0, "a", 1));
    sink.event(textDelta(0, "b", 1));
    sink.turn();
  });
  const reader = new RawReader({ ...chat, stream: true });
  await until(() => expect(reader.text).toContain('{"content":"b"}'));
  expect(reader.chunks).toBe(1);
  expect(reader.text.match(/HTTP\/1\.1/g)).toHaveLength(1);
  reader.socket.destroy();
});

test("a stream is opened without the engine after the time for it, and its silence is broken by comments", async () => {
  const clock = new SimulatedClock();
  await start(() => undefined, { clock, http: { acceptAfterMs: 10_000, keepaliveIntervalMs: 15_000 } });
  const reader = new RawReader({ ...chat, stream: true });
  await until(() => expect(edge.calls).toHaveLength(1));
  clock.advance(9_999);
  await new Promise((resolve) => setImmediate(resolve));
  expect(reader.text).toBe("");
  clock.advance(1);
  await until(() => expect(reader.text).toContain('"role":"assistant"'));
  clock.advance(14_999);
  expect(reader.text).not.toContain(": keepalive");
  clock.advance(1);
  await until(() => expect(reader.text).toContain(": keepalive\n\n"));
  const { sink } = edge.calls[0]!;
  clock.advance(14_000);
  sink.event(textDelta(0, "a", 1));
  sink.turn();
  await until(() => expect(reader.text).toContain('{"content":"a"}'));
  clock.advance(14_999);
  expect(reader.text.match(/: keepalive/g)).toHaveLength(1);
  clock.advance(1);
  await until(() => expect(reader.text.match(/: keepalive/g)).toHaveLength(2));
  expect(reader.text.match(/"role":"assistant"/g)).toHaveLength(1);
  sink.event(finished(0, FinishReason.STOP));
  sink.end();
  await until(() => expect(reader.text).toContain("[DONE]"));
  expect(clock.pendingTimers).toBe(0);
  reader.socket.destroy();
});

test("a stream whose chunks have no beginning is opened after that time, too", async () => {
  const clock = new SimulatedClock();
  await start(() => undefined, { clock });
  const reader = new RawReader({ model: "weir-sim", prompt: "hi", stream: true }, "/v1/completions");
  await until(() => expect(edge.calls).toHaveLength(1));
  clock.advance(10_000);
  await until(() => expect(reader.text).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*: keepalive\n\n/));
  says("a")(edge.calls[0]!);
  await until(() => expect(reader.text).toContain("[DONE]"));
  expect(reader.text.match(/: keepalive/g)).toHaveLength(1);
  reader.socket.destroy();
});

/** How a generation can go wrong, and what a caller sees of it before the stream is open, and in an answer of one piece. */
const endings: readonly (readonly [string, ErrorReason, number, string])[] = [
  ["refused", ErrorReason.QUEUE_FULL, 503, "server_overloaded"],
  ["cut", ErrorReason.ENGINE_UNAVAILABLE, 502, "upstream_unavailable"],
  ["stalled", ErrorReason.ENGINE_TIMEOUT, 504, "upstream_timeout"],
  ["failed by the engine inside a 200", ErrorReason.ENGINE_FAILED, 502, "upstream_error"],
  ["nonsense", ErrorReason.ENGINE_PROTOCOL, 502, "upstream_protocol_error"],
  ["past its deadline", ErrorReason.DEADLINE_EXCEEDED, 504, "timeout"],
  ["revoked", ErrorReason.KEY_REVOKED, 401, "key_revoked"],
  ["too long for the context", ErrorReason.CONTEXT_LENGTH_EXCEEDED, 400, "context_length_exceeded"],
];

test.each(endings)(
  "%s before the stream is open: its own status, streamed or not",
  async (_name, reason, status, code) => {
    await start(({ sink }) => sink.fail(fail(reason, { model: "weir-sim" })));
    for (const stream of [true, false]) {
      const response = await post({ ...chat, stream });
      expect(response.status).toBe(status);
      expect(await response.json()).toMatchObject({ error: { code } });
    }
  },
);

test.each(endings)("%s in the middle: one error event, and no end mark", async (_name, reason, status, code) => {
  for (const how of ["fail", "failed"] as const) {
    await start(({ sink }) => {
      sink.event(accepted());
      sink.event(textDelta(0, "par", 1));
      sink.turn();
      if (how === "fail") return sink.fail(fail(reason, { model: "weir-sim" }));
      sink.event(failed(reason));
      sink.end();
    });
    const text = await (await post({ ...chat, stream: true })).text();
    expect(text.match(/"error":/g)).toHaveLength(1);
    expect(text).toContain(`"code":"${code}"`);
    expect(text.endsWith("\n\n")).toBe(true);
    expect(text).not.toContain("[DONE]");
    expect(text).not.toContain('"finish_reason":"');
    const whole = await post(chat);
    expect(whole.status).toBe(status);
    expect(await whole.json()).toMatchObject({ error: { code } });
    if (how === "fail") await edge[Symbol.asyncDispose]();
  }
});

const incomplete: readonly (readonly [string, GenerateResponse[]])[] = [
  ["nothing at all", []],
  ["no finish", [accepted(), textDelta(0, "par", 1)]],
  ["a finish of one choice of two", [accepted(), textDelta(0, "par", 1), finished(0, FinishReason.STOP)]],
];

test.each(incomplete)("a clean end after %s is an error", async (_name, events) => {
  await start(({ sink }) => {
    for (const event of events) sink.event(event);
    sink.turn();
    sink.end();
  });
  const streamed = await post({ ...chat, n: 2, stream: true });
  const text = await streamed.text();
  expect(text).not.toContain("[DONE]");
  expect(text.match(/upstream_truncated/g)).toHaveLength(1);
  expect(streamed.status).toBe(events.length > 0 ? 200 : 502);
  const whole = await post({ ...chat, n: 2 });
  expect(whole.status).toBe(502);
  expect(await whole.json()).toMatchObject({ error: { code: "upstream_truncated" } });
});

test.each<[string, GenerateResponse[]]>([
  ["a choice that was not asked for", [textDelta(1, "x", 1)]],
  ["a second finish", [finished(0, FinishReason.STOP), finished(0, FinishReason.STOP)]],
])("%s ends the answer, and the generation is cancelled", async (_name, events) => {
  await start(({ sink }) => {
    sink.event(accepted());
    for (const event of events) sink.event(event);
    sink.turn();
  });
  const text = await (await post({ ...chat, stream: true })).text();
  expect(text).toContain("upstream_protocol_error");
  expect(text).not.toContain("[DONE]");
  expect(edge.calls[0]?.cancelled?.reason.reason).toBe(ErrorReason.ENGINE_PROTOCOL);
});

/** The phases in which a reader can leave, as what the model has said until then. */
const phases: readonly (readonly [string, boolean, GenerateResponse[]])[] = [
  ["before the headers", true, []],
  ["after acceptance", true, [accepted()]],
  ["in the middle", true, [accepted(), textDelta(0, "a", 1)]],
  ["after the last token", true, [accepted(), textDelta(0, "a", 1), finished(0, FinishReason.STOP), counts(1, 1)]],
  ["of an answer in one piece, before the engine said anything", false, []],
  ["of an answer in one piece, in the middle", false, [accepted(), textDelta(0, "a", 1)]],
];

test.each(
  phases.flatMap(([name, stream, events]) => ["reset", "close"].map((how) => [name, how, stream, events] as const)),
)("a reader who leaves %s (%s) cancels the generation within 250 ms", async (_name, how, stream, events) => {
  await start(({ sink }) => {
    for (const event of events) sink.event(event);
    sink.turn();
  });
  const reader = new RawReader({ ...chat, stream });
  await until(() => expect(edge.calls).toHaveLength(1));
  await until(() => expect(reader.text !== "").toBe(stream && events.length > 0));
  const leftMs = performance.now();
  if (how === "reset") reader.socket.resetAndDestroy();
  else reader.socket.destroy();
  await until(() => expect(edge.calls[0]?.cancelled).toBeDefined());
  expect(edge.calls[0]!.cancelled!.atMs - leftMs).toBeLessThan(250);
  expect(edge.calls[0]!.cancelled!.reason.reason).toBe(ErrorReason.CANCELLED);
  // What the model says afterwards reaches nobody, and harms nobody.
  const { sink } = edge.calls[0]!;
  sink.event(textDelta(0, "late", 1));
  sink.turn();
  sink.end();
  expect(sink.full()).toBe(false);
});

test("a reader who is behind holds the model back, and takes up where it left", async () => {
  await start(({ sink }) => {
    sink.event(accepted());
    sink.turn();
  });
  const reader = new RawReader({ ...chat, stream: true });
  await until(() => expect(reader.text).not.toBe(""));
  reader.socket.pause();
  const { sink } = edge.calls[0]!;
  const resumed = Promise.withResolvers<void>();
  sink.resume = () => resumed.resolve();
  const pieces = await fill(sink);
  reader.socket.resume();
  await resumed.promise;
  expect(sink.full()).toBe(false);
  sink.event(finished(0, FinishReason.STOP));
  sink.end();
  await until(() => expect(reader.text).toContain("[DONE]"));
  expect(reader.text.match(/"content":"x/g)).toHaveLength(pieces);
  reader.socket.destroy();
});

test("a reader who takes nothing for too long is cut, and the generation cancelled", async () => {
  await start(
    ({ sink }) => {
      sink.event(accepted());
      sink.turn();
    },
    { http: { slowReaderTimeoutMs: 200 } },
  );
  const reader = new RawReader({ ...chat, stream: true });
  await until(() => expect(reader.text).not.toBe(""));
  reader.socket.pause();
  const { sink } = edge.calls[0]!;
  await fill(sink);
  await until(() => expect(edge.calls[0]?.cancelled?.reason.reason).toBe(ErrorReason.SLOW_READER));
  reader.socket.resume();
  await until(() => expect(reader.closed).toBe(true));
  expect(reader.text).not.toContain("[DONE]");
});

test("several prompts are one stream, and one's failure cancels the others", async () => {
  await start(() => undefined);
  const reader = new RawReader({ model: "weir-sim", prompt: ["a", "b"], stream: true }, "/v1/completions");
  await until(() => expect(edge.calls).toHaveLength(2));
  for (const [i, { sink }] of edge.calls.entries()) {
    sink.event(accepted());
    sink.event(textDelta(0, `t${i}`, 1));
    sink.turn();
  }
  await until(() => expect(reader.text).toContain('"index":1,"text":"t1"'));
  edge.calls[1]!.sink.fail(fail(ErrorReason.ENGINE_UNAVAILABLE, { model: "weir-sim" }));
  await until(() => expect(reader.text).toContain("upstream_unavailable"));
  expect(edge.calls[0]!.cancelled?.reason.reason).toBe(ErrorReason.ENGINE_UNAVAILABLE);
  expect(reader.text).not.toContain("[DONE]");
  reader.socket.destroy();
});

test("of 40 prompts 16 run at a time, and each is a request of its own", async () => {
  let running = 0;
  let most = 0;
  await start((call) => {
    most = Math.max(most, ++running);
    setTimeout(() => {
      running--;
      says("x")(call);
    }, 5);
  });
  const prompt = Array.from({ length: 40 }, (_, i) => `p${i}`);
  const response = await post({ model: "weir-sim", prompt, n: 2 }, { path: "/v1/completions" });
  const body = (await response.json()) as { choices: { index: number }[]; usage: { completion_tokens: number } };
  expect(body.choices.map(({ index }) => index)).toEqual(Array.from({ length: 80 }, (_, i) => i));
  expect(body.usage.completion_tokens).toBe(80);
  expect(most).toBe(16);
  expect(new Set(edge.calls.map(({ options }) => options.requestId)).size).toBe(40);
});

test("a stream over HTTP/2, and a reader who resets it", async () => {
  await start(says(...words), { protocol: "http2" });
  const session = connectHttp2(edge.url);
  const ask = () => {
    const stream = session.request({
      ":method": "POST",
      ":path": "/v1/chat/completions",
      authorization: `Bearer ${keys.cold}`,
      "content-type": "application/json",
    });
    stream.end(JSON.stringify({ ...chat, stream: true }));
    return stream;
  };
  let text = "";
  for await (const chunk of ask().setEncoding("utf8")) text += chunk;
  expect(text).toContain('{"content":" Paris"}');
  expect(text.endsWith("data: [DONE]\n\n")).toBe(true);

  edge.script = () => undefined;
  const left = ask();
  await until(() => expect(edge.calls).toHaveLength(2));
  left.close(8);
  await until(() => expect(edge.calls[1]?.cancelled?.reason.reason).toBe(ErrorReason.CANCELLED));
  session.close();
});
