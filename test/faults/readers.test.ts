import { readFileSync } from "node:fs";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2, constants } from "node:http2";
import { connect } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { type Gateway, startGateway } from "../fakes/gateway.ts";
import { eventsOf } from "../fakes/raw-request.ts";
import { endOf, RecordTail } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";

const slowReaderMs = 500;
const keepaliveMs = 200;
const requestMs = 2_000;
const headersMs = 1_000;

let engine: SimulatorProcess;
let tail: RecordTail;
let gateway: Gateway;

beforeAll(async () => {
  const sizes = ["--slots", "512", "--context", "1000000", "--kv-tokens", "1000000000"];
  engine = await startSimulatorProcess([...sizes, "--prefill-ms", "0", "--decode-ms", "1"]);
  tail = new RecordTail(engine.recordPath);
  gateway = await startGateway(
    [
      "http:",
      `  slow_reader_timeout: ${slowReaderMs}ms`,
      `  keepalive_interval: ${keepaliveMs}ms`,
      "  accept_after: 300ms",
      `  headers_timeout: ${headersMs}ms`,
      `  request_timeout: ${requestMs}ms`,
      "pools:",
      `  - { id: http, replicas: [{ url: "${engine.httpUrl}" }], concurrency_max: 512 }`,
      `  - { id: triton, replicas: [{ url: "${engine.grpcUrl}" }], concurrency_max: 512 }`,
      "models:",
      "  - { id: http, pool: http, engine_model: weir-sim, max_output_tokens: 900000 }",
      "  - { id: vllm, pool: triton, engine_model: vllm_model, max_output_tokens: 900000 }",
      "  - { id: ensemble, pool: triton, engine_model: ensemble, max_output_tokens: 900000 }",
      "",
    ].join("\n"),
  );
}, 60_000);
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  tail?.[Symbol.dispose]();
  await engine?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  await eventually("nothing is left at the engine", () => tail.open().length === 0);
  expect(await gateway.gauge("weir_requests_in_flight")).toBe(0);
  expect((await fetch(`${gateway.weir.adminUrl}/livez`)).status).toBe(200);
});

const models = ["http", "ensemble", "vllm"] as const;

const story = "tell me all of it";

/** Talks until it is stopped, much at each step, so that what kernels hold for a reader is soon full. */
const endless = (model: string) => ({
  model,
  stream: true,
  // Several choices, or where there is one only, several prompts.
  ...(model === "vllm" ? { prompt: Array.from({ length: 8 }, () => story) } : { prompt: story, n: 8 }),
  ...(model === "ensemble" ? {} : { logprobs: 5 }),
  max_tokens: 800_000,
  min_tokens: 800_000,
});
const ask = (body: object, paused = false) => gateway.ask("/v1/completions", body, { paused });

function rssKib(): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${gateway.weir.pid}/status`, "utf8"))?.[1]);
}

const lineOf = (id: string) => gateway.generations().find((line) => line.request_id === id);

describe("a reader who takes nothing", () => {
  test.each(models)(
    "is cut in time, and its engine is stopped (%s)",
    async (model) => {
      const before = tail.read().length;
      const client = ask(endless(model), true);
      const one = () => tail.read()[before];
      await eventually("the engine speaks", () => one()?.at.has("produced") === true);
      await eventually("the engine is stopped", () => one() !== undefined && endOf(one()!) === "cancelled", 20_000);
      // It stays where it is until it is read; what was sent before the cut may still come, and no end mark.
      client.readOn();
      await client.closed;
      const reply = client.reply();
      expect([reply?.status, reply?.whole]).toEqual([200, false]);
      expect(reply?.body).not.toContain("[DONE]");
      const id = reply?.headers.get("x-request-id") ?? "";
      await eventually("its line", () => lineOf(id) !== undefined);
      expect(lineOf(id)).toMatchObject({ end: "cancelled", reason: "SLOW_READER" });
    },
    40_000,
  );

  test("64 of them on one HTTP/2 session, with a window of one byte, are cut and hold little memory", async () => {
    const session = connectHttp2(gateway.weir.url, { settings: { initialWindowSize: 1 } });
    const beforeKib = rssKib();
    const before = tail.read().length;
    const streams = Array.from({ length: 64 }, () => askHttp2(session, endless("http")));
    await eventually("all have begun", () => tail.read().length === before + 64, 20_000);
    let peakKib = 0;
    await eventually(
      "all are cut",
      () => {
        peakKib = Math.max(peakKib, rssKib());
        return tail.open().length === 0;
      },
      20_000,
    );
    // 64 KiB pending for each, the engine's side of it, and what the heap has not given back.
    expect(peakKib - beforeKib).toBeLessThan(64 * 2_048);
    expect(tail.read().slice(before).map(endOf)).toEqual(streams.map(() => "cancelled"));
    await eventually("the client is told of all", () => streams.every(({ closed }) => closed));
    // Not "no error": what came is not the whole.
    expect(new Set(streams.map(({ rstCode }) => rstCode))).toEqual(new Set([constants.NGHTTP2_CANCEL]));
    session.destroy();
  }, 60_000);
});

function askHttp2(session: ClientHttp2Session, body: object): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": "/v1/completions",
    authorization: `Bearer ${gateway.key}`,
    "content-type": "application/json",
  });
  stream.on("error", () => undefined);
  stream.end(JSON.stringify(body));
  return stream;
}

/** Talks steadily, and not much. */
const chatter = (model: string, stream = true) => ({
  model,
  prompt: "[[sim drip after=1 ms=20]]",
  stream,
  max_tokens: 5_000,
  min_tokens: 5_000,
});

describe("clients that vanish", () => {
  test.each(["close", "reset"] as const)("200 at once by %s: the engine ends all of them", async (how) => {
    const before = tail.read().length;
    const clients = Array.from({ length: 200 }, (_, at) => ask(chatter(models[at % 3] ?? "http", at % 2 === 0)));
    const mine = () => tail.read().slice(before);
    await eventually("all speak", () => mine().length === 200 && mine().every(({ at }) => at.has("produced")), 20_000);
    const leftMs = systemClock.nowMs();
    for (const client of clients) client.leave(how);
    await eventually("all are over", () => tail.open().length === 0);
    const afterMs = mine().map(({ at }) => (at.get("cancelled") ?? Number.POSITIVE_INFINITY) - leftMs);
    // In one burst, on a busy machine.
    expect(Math.max(...afterMs)).toBeLessThan(2_000);
  });

  test("200 HTTP/2 streams that are reset, and a session that breaks, leave strangers alone", async () => {
    const stranger = ask({ ...chatter("http"), max_tokens: 150, min_tokens: 150 });
    const sessions = [connectHttp2(gateway.weir.url), connectHttp2(gateway.weir.url)] as const;
    const streams = Array.from({ length: 200 }, (_, at) => askHttp2(sessions[at < 100 ? 0 : 1], chatter("vllm")));
    await eventually("all speak", () => tail.open().filter(({ at }) => at.has("produced")).length === 201, 20_000);
    for (const stream of streams.slice(0, 100)) stream.close(constants.NGHTTP2_CANCEL);
    sessions[1].destroy();
    await eventually("only the stranger is left", () => tail.open().length <= 1);
    expect(eventsOf((await stranger.done())?.body ?? "")).toMatchObject({ dones: 1, errors: [], finishes: ["stop"] });
    sessions[0].destroy();
  });

  test("whose body never comes are told so, and no engine hears of them", async () => {
    const before = tail.read().length;
    const mute = connect(gateway.port, "127.0.0.1");
    let answer = "";
    mute.setEncoding("utf8").on("data", (text: string) => {
      answer += text;
    });
    mute.write(
      `POST /v1/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${gateway.key}\r\ncontent-type: application/json\r\ncontent-length: 400\r\n\r\n{"model":`,
    );
    const session = connectHttp2(gateway.weir.url);
    const stream = session.request({
      ":method": "POST",
      ":path": "/v1/completions",
      authorization: `Bearer ${gateway.key}`,
      "content-type": "application/json",
    });
    let status = 0;
    stream
      .on("error", () => undefined)
      .on("response", (headers) => {
        status = Number(headers[":status"]);
      });
    stream.write('{"model":');
    await eventually("both are answered", () => answer !== "" && status !== 0, requestMs + 3_000);
    expect(answer).toMatch(/^HTTP\/1\.1 408 [^]*"code":"request_timeout"/);
    expect(status).toBe(408);
    await eventually("the connection is closed", () => mute.destroyed);
    expect(tail.read().length).toBe(before);
    session.destroy();
  });
});

test.each(models)("a long prefill is broken by comments, and the text is whole (%s)", async (model) => {
  const prompt = "[[sim delay after=0 ms=1500]]";
  const client = ask({ model, prompt, stream: true, max_tokens: 8, min_tokens: 8, seed: 1 });
  // Opened without the engine after `accept_after`, so that a proxy sees a living connection.
  await eventually("the status", () => client.reply()?.status === 200, 1_200);
  expect(tail.open().some(({ at }) => at.has("produced"))).toBe(false);
  const reply = await client.done();
  const { comments, dones, finishes } = eventsOf(reply?.body ?? "");
  expect(comments).toBeGreaterThanOrEqual(3);
  expect(comments).toBeLessThanOrEqual(8);
  expect([dones, finishes]).toEqual([1, ["length"]]);
});
