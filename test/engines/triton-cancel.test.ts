import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { attemptAt, start, targetAt } from "../wire/attempts.ts";
import { requireEngines } from "./availability.ts";
import { type EngineEvent, openRequests } from "./triton/event-log.ts";
import { startTriton, type TritonServer } from "./triton/server.ts";
import { answersStreams } from "./triton/stream-handler.ts";

const gate = await requireEngines("triton");

const aborts = 300;
const together = 30;
/** The engine's own clock and ours are the same machine's. */
const orphanWaitMs = 5_000;

const phases = {
  queue: "[[tokens=500]] [[delay_ms=50]] wait",
  prefill: "[[prefill_ms=4000]] [[tokens=50]] think",
  decode: "[[tokens=500]] [[delay_ms=20]] tell",
};

interface Abort {
  readonly id: string;
  readonly abortMs: number;
}

describe.skipIf(gate.skip)(gate.title("many aborts behind an ensemble"), () => {
  // The core runs half of those that come at once; the others wait in it.
  const startServer = () =>
    startTriton({
      // The last is the one that idles.
      models: ["preprocessing", "tensorrt_llm", "postprocessing", "ensemble", "vllm_model"],
      parameters: { tensorrt_llm: { slots: String(together / 2) } },
    });

  async function expectAbortsStop(server: TritonServer): Promise<void> {
    await using driver = openDriver(Dialect.TRITON, targetAt(`grpc://${server.grpcAddress}`));
    const { models } = await driver.probe(AbortSignal.timeout(10_000));
    const model = models.find(({ engineModel }) => engineModel === "ensemble");
    if (!model) throw new Error("no ensemble");

    const prompts = Object.values(phases);
    const abortOne = async (at: number): Promise<Abort> => {
      const prompt = prompts[at % prompts.length] ?? "";
      const attempt = attemptAt(model, { input: { case: "prompt", value: prompt } }, { maxTokens: 500 });
      const running = start(driver, attempt);
      // At every moment of its life, and the first moments most: there the ways to stop it change over.
      await delay(((at * 37) % 200) * ((at % 3) / 2));
      const abortMs = performance.timeOrigin + performance.now();
      running.cancel();
      return { id: attempt.id, abortMs };
    };

    const done: Abort[] = [];
    for (let at = 0; at < aborts; at += together)
      done.push(...(await Promise.all(Array.from({ length: together }, (_, offset) => abortOne(at + offset)))));

    await delay(1_000);
    const deadline = performance.now() + orphanWaitMs;
    const generating = (events: EngineEvent[]) =>
      openRequests(events).filter((event) => event.model === "tensorrt_llm");
    while (generating(await server.log()).length > 0 && performance.now() < deadline) await delay(50);
    const log = await server.log();
    expect(generating(log)).toEqual([]);

    const endMs = new Map(
      log
        .filter((event) => event.model === "tensorrt_llm" && ["stopped", "cancelled"].includes(event.event))
        .map((event) => [event.requestId, event.timeMs]),
    );
    const reached = done.flatMap(({ id, abortMs }) => (endMs.has(id) ? [(endMs.get(id) ?? 0) - abortMs] : []));
    const sorted = reached.toSorted((one, other) => one - other);
    const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
    console.log(
      `${reached.length} of ${aborts} reached the core; p50 ${sorted[Math.floor(sorted.length / 2)]?.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms, max ${sorted.at(-1)?.toFixed(0)} ms`,
    );
    expect(reached.length).toBeGreaterThan(aborts / 4);
    expect(log.filter((event) => event.event === "finished" && event.model === "tensorrt_llm")).toEqual([]);
  }

  test(`${aborts} in queue, prefill and decode stop the engine, and leave no orphan`, async () => {
    await using server = await startServer();
    try {
      await expectAbortsStop(server);
    } catch (thrown) {
      if (await answersStreams(server, "vllm_model")) throw thrown;
      console.warn("the cancels have broken Triton itself; once more with a new one");
      await using another = await startServer();
      await expectAbortsStop(another);
    }
  }, 240_000);
});
