import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Dialect, Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { detectDialect, openDriver } from "../../services/drivers/registry.ts";
import { createTokenizers } from "../../services/drivers/tokens/tokenizers.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { encodingDriver } from "../fakes/encoding-driver.ts";
import { tokenizerSource } from "../fakes/tokenizer-files.ts";
import { attemptAt, run, start, targetAt } from "../wire/attempts.ts";
import { type Asked, describeDriver, type Shape, type SuiteEngine } from "../wire/driver-suite.ts";
import { requireEngines } from "./availability.ts";
import { openRequests } from "./triton/event-log.ts";
import type { TritonModel } from "./triton/run-folder.ts";
import { toyEndId, toyTokenizer } from "./triton/toy-tokenizer.ts";
import { startTriton } from "./triton/server.ts";

const gate = await requireEngines("triton");

const slots = 4;
const parameters = {
  tensorrt_llm: { slots: String(slots) },
  vllm_model: { slots: String(slots) },
  llmapi: { slots: String(slots) },
};

const shapes: Readonly<Record<Shape, Asked>> = {
  short: { prompt: "[[tokens=12]] tell me of the river", maxTokens: 16 },
  slow: { prompt: "[[tokens=2000]] [[delay_ms=20]] tell me all of it", maxTokens: 4_000 },
  prefill: { prompt: "[[prefill_ms=10000]] [[tokens=50]] think", maxTokens: 64 },
  overlong: { prompt: "x".repeat(9_000), maxTokens: 16 },
  failing: { prompt: "[[error_after=3]] tell me", maxTokens: 16 },
};

/** A server with one interface, whose models log what they do. */
async function startInterface(name: string, models: readonly TritonModel[]): Promise<SuiteEngine> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await startTriton({ models, parameters }));
  const opened = cleanup.use(openDriver(Dialect.TRITON, targetAt(`grpc://${server.grpcAddress}`)));
  const { models: found } = await opened.probe(AbortSignal.timeout(10_000));
  const model = found.find((candidate) => candidate.engineModel === name);
  if (!model) throw new Error(`the probe did not find ${name}: ${found.map((one) => one.engineModel).join(", ")}`);
  const tokenizers = cleanup.use(createTokenizers({ clock: systemClock, unusable: () => undefined }));
  const tokenizer = () => tokenizers.of(tokenizerSource(toyTokenizer(), [toyEndId]));
  const driver = model.needsTokenizer ? encodingDriver(opened, tokenizer()) : opened;
  if (model.needsTokenizer) model.features.push(Feature.PROMPT);
  const generators = new Set(["tensorrt_llm", "vllm_model", "llmapi"]);
  const owned = cleanup.move();
  return {
    driver,
    model,
    slots,
    working: async () => openRequests(await server.log()).filter((event) => generators.has(event.model)).length,
    kill: () => server.kill(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const steps: readonly TritonModel[] = ["preprocessing", "tensorrt_llm", "postprocessing"];

describe.skipIf(gate.skip)(gate.title("the triton driver"), () => {
  describeDriver("at an ensemble", { shapes, cancels: true }, () => startInterface("ensemble", [...steps, "ensemble"]));
  describeDriver("at a core model", { shapes, cancels: true, lacks: ["minP"] }, () =>
    startInterface("tensorrt_llm", ["tensorrt_llm"]),
  );
  describeDriver("at a BLS model", { shapes, cancels: false }, () =>
    startInterface("tensorrt_llm_bls", [...steps, "tensorrt_llm_bls"]),
  );
  describeDriver("at the vLLM backend", { shapes, cancels: true }, () => startInterface("vllm_model", ["vllm_model"]));
  describeDriver("at the LLM API", { shapes, cancels: true, counts: false, lacks: ["minP"] }, () =>
    startInterface("llmapi", ["llmapi"]),
  );

  test("the LLM API as it is shipped answers in one piece", async () => {
    await using server = await startTriton({ models: [] });
    const file = join(server.modelRepository, "llmapi", "config.pbtxt");
    await writeFile(file, (await readFile(file, "utf8")).replace("decoupled: true", "decoupled: false"));
    await fetch(`${server.httpUrl}/v2/repository/models/llmapi/load`, { method: "POST" });
    await using driver = openDriver(Dialect.TRITON, targetAt(`grpc://${server.grpcAddress}`));
    const [model] = (await driver.probe(AbortSignal.timeout(10_000))).models;
    if (!model) throw new Error("no model");
    expect(model).toMatchObject({ flavour: "llmapi", features: [Feature.PROMPT, Feature.CANCEL] });
    const outcome = await run(driver, attemptAt(model, { input: { case: "prompt", value: "[[say:amber ☕ birch]]" } }));
    expect([outcome.reason, outcome.text(), outcome.finish()]).toEqual([undefined, "amber ☕ birch", "STOP"]);
  }, 120_000);

  test("an older ensemble, which counts no tokens, says which of its answers was cut", async () => {
    await using server = await startTriton({ models: ["preprocessing", "tensorrt_llm", "postprocessing"] });
    const file = join(server.modelRepository, "ensemble", "config.pbtxt");
    const lines = (await readFile(file, "utf8")).split("\n");
    const older = lines.filter((line) => !/num_(?:in|out)put_tokens/.test(line)).join("\n");
    await writeFile(file, older.replaceAll(/,(\s*\])/g, "$1"));
    await fetch(`${server.httpUrl}/v2/repository/models/ensemble/load`, { method: "POST" });
    await using driver = openDriver(Dialect.TRITON, targetAt(`grpc://${server.grpcAddress}`));
    const { models } = await driver.probe(AbortSignal.timeout(10_000));
    const model = models.find(({ engineModel }) => engineModel === "ensemble");
    if (!model) throw new Error("no ensemble");
    const ended = async (prompt: string, stream: boolean) => {
      const input = { case: "prompt" as const, value: prompt };
      const outcome = await run(driver, attemptAt(model, { input, stream }));
      return [outcome.usage, outcome.finish()];
    };
    for (const stream of [false, true]) {
      expect(await ended("[[tokens=40]] tell me of the river", stream)).toEqual([undefined, "LENGTH"]);
      expect(await ended("[[say:amber birch]]", stream)).toEqual([undefined, "STOP"]);
    }
  }, 120_000);

  test("a model that is unloaded finishes what it has, and is another replica's until it is loaded again", async () => {
    await using server = await startTriton({ models: ["vllm_model"] });
    await using driver = openDriver(Dialect.TRITON, targetAt(`grpc://${server.grpcAddress}`));
    const signal = AbortSignal.timeout(60_000);
    const [model] = (await driver.probe(signal)).models;
    if (!model) throw new Error("no model");
    const control = (what: "load" | "unload") =>
      fetch(`${server.httpUrl}/v2/repository/models/vllm_model/${what}`, { method: "POST" });

    const prompt = "[[tokens=30]] [[delay_ms=20]] go on";
    const { outcome } = start(
      driver,
      attemptAt(model, { input: { case: "prompt", value: prompt } }, { maxTokens: 64 }),
    );
    await outcome.until(() => outcome.deltas.length > 2);
    await control("unload");
    expect((await run(driver, attemptAt(model))).reason).toBe("ENGINE_UNAVAILABLE");
    await outcome.done;
    expect([outcome.ended, outcome.tokens()]).toEqual([true, 31]);
    expect((await driver.probe(signal)).models).toEqual([]);
    await control("load");
    expect((await driver.probe(signal)).models).toMatchObject([{ engineModel: "vllm_model", ready: true }]);
    expect((await run(driver, attemptAt(model))).reason).toBeUndefined();
  }, 120_000);

  test("a backend process that dies says nothing: the timer does, and then the server", async () => {
    await using server = await startTriton({ models: ["vllm_model"] });
    const target = targetAt(`grpc://${server.grpcAddress}`, { idleMs: 1_000 });
    expect(await detectDialect(target, AbortSignal.timeout(10_000))).toBe(Dialect.TRITON);
    await using driver = openDriver(Dialect.TRITON, target);
    const [model] = (await driver.probe(AbortSignal.timeout(10_000))).models;
    if (!model) throw new Error("no model");
    const crash = attemptAt(model, { input: { case: "prompt", value: "[[crash_after=3]] [[delay_ms=20]] go on" } });
    const outcome = await run(driver, crash);
    // Mostly nothing comes; Triton on a busy machine may find the process dead before the timer does.
    const { reason = "", failure } = outcome;
    expect([reason, failure?.facts["phase"]]).toBeOneOf([
      ["ENGINE_TIMEOUT", "next event"],
      ["ENGINE_UNAVAILABLE", undefined],
    ]);
    expect((await run(driver, attemptAt(model))).reason).toBe("ENGINE_UNAVAILABLE");
  }, 120_000);
});
