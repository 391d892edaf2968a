import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Dialect, Feature, type ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Driver } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { type Simulator, startSimulator } from "../../services/simulator/simulator.ts";
import { vectorOf } from "../../services/simulator/vectors.ts";
import { startFakeOpenAi } from "../fakes/fake-openai.ts";
import { attemptAt, run, targetAt } from "./attempts.ts";
import { calm, countAttempt, embedAttempt, failureOf, numbersOf } from "./unary-calls.ts";

let simulator: Simulator;
let triton: Driver;
let tgis: Driver;
let models: readonly ReplicaModel[];
beforeAll(async () => {
  simulator = await startSimulator({
    triton: { port: 0 },
    tgis: { port: 0 },
    speed: { prefillMsPerToken: 0, decodeMsPerToken: 0 },
  });
  triton = openDriver(Dialect.TRITON, targetAt(simulator.grpcUrl));
  tgis = openDriver(Dialect.TGIS, targetAt(simulator.tgisUrl));
  models = (await triton.probe(calm)).models;
});
afterAll(async () => {
  await triton[Symbol.asyncDispose]();
  await tgis[Symbol.asyncDispose]();
  await simulator[Symbol.asyncDispose]();
});

function named(name: string): ReplicaModel {
  const found = models.find(({ engineModel }) => engineModel === name);
  if (!found) throw new Error(`no ${name}`);
  return found;
}

describe("Triton's models that embed", () => {
  const embed = async (inputs: readonly (string | readonly number[])[], model = "text_embedding") => {
    const found = await triton.embed?.(embedAttempt(inputs, { model: named(model) }), calm);
    if (!found) throw new Error("it does not embed");
    return found;
  };

  test("are found, and generate nothing", async () => {
    expect(named("text_embedding").features).toEqual([Feature.EMBED]);
    expect(named("token_embedding").features).toEqual([Feature.EMBED_TOKEN_IDS]);
    expect((await run(triton, attemptAt(named("text_embedding")))).reason).toBe("UNSUPPORTED");
    const other = triton.embed?.(embedAttempt(["x"], { model: named("vllm_model") }), calm);
    expect((await failureOf(other)).reason).toBe("UNSUPPORTED");
  });

  test("embed texts, in batches and in order", async () => {
    const texts = Array.from({ length: 150 }, (_, i) => `text ${i}`);
    const { vectors, tokens } = await embed(texts);
    expect(vectors.map(numbersOf)).toEqual(texts.map((text) => vectorOf(text)));
    expect(tokens).toBeUndefined();
    const batches = simulator.recorder
      .entries()
      .filter(({ model, event }) => model === "text_embedding" && event === "finished");
    expect(batches).toHaveLength(3);
  });

  test("embed token ids of different lengths", async () => {
    const { vectors } = await embed([[1, 2, 3], [4], [1, 2, 3]], "token_embedding");
    expect(vectors).toHaveLength(3);
    expect(vectors[0]).toEqual(vectors[2]);
    expect(vectors[0]).not.toEqual(vectors[1]);
  });

  test.each([
    ["wrong_dims", "ENGINE_PROTOCOL"],
    ["nan", "ENGINE_PROTOCOL"],
    ["miscount", "ENGINE_PROTOCOL"],
    ["error", "ENGINE_FAILED"],
    ["reject", "ENGINE_OVERLOADED"],
    ["cut", "ENGINE_UNAVAILABLE"],
    ["early_end", "ENGINE_FAILED"],
  ])("fail on command: %s", async (fault, reason) => {
    expect((await failureOf(embed([`[[sim ${fault}]]`, "b"]))).reason).toBe(reason);
  });

  test("take no members that they have no place for", async () => {
    const attempt = { ...embedAttempt(["x"], { model: named("text_embedding") }), extras: { truncate: true } };
    expect((await failureOf(triton.embed?.(attempt, calm))).reason).toBe("UNSUPPORTED");
  });

  test("hear that the caller left while they waited", async () => {
    const caller = new AbortController();
    const attempt = embedAttempt(["[[sim delay ms=60000]]"], { model: named("text_embedding") });
    const asked = failureOf(triton.embed?.(attempt, caller.signal));
    const saw = () => simulator.recorder.entries().some(({ id, event }) => id === attempt.id && event === "started");
    await expect.poll(saw).toBe(true);
    caller.abort(fail(ErrorReason.CANCELLED));
    expect((await asked).reason).toBe("CANCELLED");
  });
});

describe("TGIS", () => {
  test("counts a text, and a conversation that a template made a text of", async () => {
    const [model] = (await tgis.probe(calm)).models;
    expect(model?.features).toContain(Feature.COUNT_TOKENS);
    const count = await tgis.countTokens?.(countAttempt({ case: "prompt", value: "the river runs" }, model), calm);
    expect(count).toBeGreaterThan(0);
    const messages = [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "the river" } }] }];
    const chat = { case: "conversation" as const, value: { messages } };
    expect(await tgis.countTokens?.(countAttempt(chat, model, "the river runs"), calm)).toBe(count);
    expect(tgis.embed).toBeUndefined();
  });
});

describe("TGI over HTTP", () => {
  test("counts a text, and a conversation by its own template", async () => {
    await using server = await startSimulator({ tgi: { port: 0 } });
    await using driver = openDriver(Dialect.TGI, targetAt(server.tgiUrl));
    const [model] = (await driver.probe(calm)).models;
    expect(model?.features).toEqual(expect.arrayContaining([Feature.COUNT_TOKENS, Feature.COUNT_CONVERSATION]));
    expect(await driver.countTokens?.(countAttempt({ case: "prompt", value: "12345" }, model), calm)).toBe(2);
    const messages = [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "hello" } }] }];
    const chat = { case: "conversation" as const, value: { messages } };
    expect(await driver.countTokens?.(countAttempt(chat, model), calm)).toBe(3);
    expect(await driver.countTokens?.(countAttempt(chat, model, "12345678"), calm)).toBe(2);
    expect(driver.embed).toBeUndefined();
  });

  test.each<[string, number, unknown, string]>([
    ["an error", 422, { error: "Input validation error: nonsense", error_type: "validation" }, "ENGINE_REFUSED"],
    ["an error inside a 200", 200, { error: "Model is overloaded", error_type: "overloaded" }, "ENGINE_OVERLOADED"],
    ["no tokens", 200, [], "ENGINE_PROTOCOL"],
    ["an object", 200, {}, "ENGINE_PROTOCOL"],
  ])("answered with %s is a failure", async (_what, status, body, reason) => {
    await using server = await startFakeOpenAi({
      generate: ({ response }) =>
        void response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body)),
    });
    await using driver = openDriver(Dialect.TGI, targetAt(server.url));
    const asked = driver.countTokens?.(countAttempt({ case: "prompt", value: "x" }), calm);
    expect((await failureOf(asked)).reason).toBe(reason);
  });
});
