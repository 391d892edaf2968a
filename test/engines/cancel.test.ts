import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { quantile } from "../bench/statistics.ts";
import { type Gateway, startGateway } from "../fakes/gateway.ts";
import type { RawRequest } from "../fakes/raw-request.ts";
import { requireEngines } from "./availability.ts";
import { type LlamaCppServer, startLlamaCpp } from "./llamacpp/server.ts";
import { type EngineEvent, openRequests } from "./triton/event-log.ts";
import { startTriton, type TritonServer } from "./triton/server.ts";
import { answersStreams } from "./triton/stream-handler.ts";

const gate = await requireEngines("triton", "llamacpp");

const aborts = 300;
const slots = 20;
/** Half of a wave waits in the engine's queue. */
const wave = 40;
const boundMs = 250;

/** What the models of the Triton server take as commands: silent for long, or a token every 20 ms. */
const commands = ["[[prefill_ms=8000]] [[tokens=50]]", "[[tokens=1000]] [[delay_ms=20]]"];

describe.skipIf(gate.skip)(gate.title("clients of the gateway that leave stop real engines"), () => {
  let triton: TritonServer;
  let llama: LlamaCppServer;
  let gateway: Gateway;

  async function startServers(): Promise<void> {
    const parameters = { tensorrt_llm: { slots: String(slots) }, vllm_model: { slots: String(slots) } };
    triton = await startTriton({ parameters });
    gateway = await startGateway(
      [
        "pools:",
        `  - { id: triton, replicas: [{ url: "grpc://${triton.grpcAddress}" }] }`,
        `  - { id: llama, replicas: [{ url: "${llama.url}" }] }`,
        "models:",
        "  - { id: ensemble, pool: triton }",
        "  - { id: vllm_model, pool: triton }",
        `  - { id: llama, pool: llama, engine_model: ${llama.model} }`,
        "",
      ].join("\n"),
    );
  }
  async function stopTritonAndGateway(): Promise<void> {
    await gateway?.[Symbol.asyncDispose]();
    await triton?.[Symbol.asyncDispose]();
  }

  beforeAll(async () => {
    llama = await startLlamaCpp();
    await startServers();
  }, 180_000);
  afterAll(async () => {
    await stopTritonAndGateway();
    await llama?.[Symbol.asyncDispose]();
  });

  const ask = (model: string, prompt: string, stream: boolean): RawRequest =>
    gateway.ask("/v1/completions", { model, prompt, stream, max_tokens: 2_000 });

  /** Requests of a wave as the model that generates saw them: by their prompts, which its log or its first step's holds. */
  async function idsOf(prompts: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const received = (await triton.log()).filter(({ event, inputs }) => event === "received" && inputs !== undefined);
    const found = new Map<string, string>();
    for (const { inputs, requestId } of received) {
      const text = JSON.stringify(inputs);
      const prompt = prompts.find((each) => text.includes(each.slice(0, 12)));
      if (prompt !== undefined) found.set(prompt, requestId);
    }
    return found;
  }

  /** Checks waves of clients that leave. */
  async function checkWaves(model: string, generator: string): Promise<void> {
    const latencies: number[] = [];
    const own = (events: readonly EngineEvent[]) => events.filter((event) => event.model === generator);
    const open = async () => openRequests(await triton.log()).filter((event) => event.model === generator).length;
    for (let done = 0; done < aborts; done += wave) {
      const prompts = Array.from(
        { length: Math.min(wave, aborts - done) },
        (_, at) => `<${model.slice(0, 3)} ${String(done + at).padStart(4, "0")} > ${commands[at % 2]}`,
      );
      const clients = prompts.map((prompt, at) => ask(model, prompt, at % 4 < 2));
      await expect.poll(open, { timeout: 15_000 }).toBe(prompts.length);
      await delay(100);
      const leftMs: number[] = [];
      for (const [at, client] of clients.entries()) {
        leftMs.push(systemClock.nowMs());
        client.leave(at % 2 === 0 ? "close" : "reset");
        await delay(5);
      }
      await expect.poll(open, { timeout: 5_000 }).toBe(0);
      const ids = await idsOf(prompts);
      const ended = own(await triton.log()).filter(({ event }) => event === "cancelled" || event === "stopped");
      for (const [at, prompt] of prompts.entries()) {
        const end = ended.find(({ requestId }) => requestId === ids.get(prompt));
        latencies.push((end?.timeMs ?? Number.POSITIVE_INFINITY) - (leftMs[at] ?? 0));
      }
    }
    const [p50, p99] = [quantile(latencies, 0.5), quantile(latencies, 0.99)];
    console.log(
      `${model}: p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms, max ${Math.max(...latencies).toFixed(0)} ms`,
    );
    expect(latencies).toHaveLength(aborts);
    expect(latencies.every(Number.isFinite)).toBe(true);
    expect(p99).toBeLessThanOrEqual(boundMs);
    expect(own(await triton.log()).filter(({ event }) => event === "finished" || event === "error")).toEqual([]);
  }

  test.each([
    ["ensemble", "tensorrt_llm", "vllm_model"],
    ["vllm_model", "vllm_model", "ensemble"],
  ] as const)(
    `${aborts} at Triton's %s, in queue, prefill and decode`,
    async (model, generator, idle) => {
      try {
        await checkWaves(model, generator);
      } catch (thrown) {
        if (await answersStreams(triton, idle)) throw thrown;
        console.warn(`${model}: the cancels have broken Triton itself; once more with a new one`);
        await expect.poll(() => gateway.gauge("weir_requests_in_flight"), { timeout: 5_000 }).toBe(0);
        await stopTritonAndGateway();
        await startServers();
        await checkWaves(model, generator);
      }
      expect(await gateway.gauge("weir_requests_in_flight")).toBe(0);
    },
    240_000,
  );

  test("100 at llama.cpp, at any moment", async () => {
    const latencies: number[] = [];
    for (let at = 0; at < 100; at++) {
      const client = gateway.ask("/v1/completions", {
        model: "llama",
        prompt: `tell me all of it ${at}`,
        stream: at % 2 === 0,
        max_tokens: 7_000,
        ignore_eos: true,
      });
      await expect.poll(() => llama.busySlots(), { timeout: 10_000, interval: 5 }).toBe(1);
      await delay(at % 10);
      const leftMs = performance.now();
      client.leave(at % 3 === 0 ? "reset" : "close");
      await expect.poll(() => llama.busySlots(), { timeout: 5_000, interval: 5 }).toBe(0);
      latencies.push(performance.now() - leftMs);
    }
    const [p50, p99] = [quantile(latencies, 0.5), quantile(latencies, 0.99)];
    console.log(
      `llama.cpp: p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms, max ${Math.max(...latencies).toFixed(0)} ms`,
    );
    expect(p99).toBeLessThanOrEqual(boundMs);
    expect(await gateway.gauge("weir_requests_in_flight")).toBe(0);
  }, 120_000);
});
