import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Dialect, Feature, type ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Driver } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { type Simulator, startSimulator } from "../../services/simulator/simulator.ts";
import { targetAt } from "./attempts.ts";
import { calm, countAttempt, embedAttempt, failureOf, numbersOf, rerankAttempt } from "./unary-calls.ts";

let simulator: Simulator;
let driver: Driver;
let model: ReplicaModel;
beforeAll(async () => {
  simulator = await startSimulator({ openai: { port: 0 }, speed: { prefillMsPerToken: 0, decodeMsPerToken: 0 } });
  driver = openDriver(Dialect.OPENAI, targetAt(simulator.httpUrl));
  const [found] = (await driver.probe(calm)).models;
  if (!found) throw new Error("no model");
  model = found;
});
afterAll(async () => {
  await driver[Symbol.asyncDispose]();
  await simulator[Symbol.asyncDispose]();
});

const embed = async (inputs: readonly (string | readonly number[])[], dimensions?: number) => {
  const options = dimensions === undefined ? { model } : { model, dimensions };
  const found = await driver.embed?.(embedAttempt(inputs, options), calm);
  if (!found) throw new Error("it does not embed");
  return found;
};

describe("the simulator, as an engine that embeds, ranks and counts", () => {
  test("is found to do so", () => {
    expect(model.features).toEqual(
      expect.arrayContaining([Feature.EMBED, Feature.EMBED_TOKEN_IDS, Feature.EMBED_DIMENSIONS, Feature.RERANK]),
    );
  });

  test("embeds the same text alike, each time and in each company", async () => {
    const { vectors, tokens } = await embed(["the river", "a dam", "the river"]);
    expect(vectors[0]).toEqual(vectors[2]);
    expect(vectors[0]).not.toEqual(vectors[1]);
    expect(vectors[0]).toEqual((await embed(["the river"])).vectors[0]);
    const numbers = numbersOf(vectors[0]);
    expect(numbers).toHaveLength(64);
    expect(Math.hypot(...numbers)).toBeCloseTo(1, 5);
    expect(tokens).toBe(3 + 2 + 3);
  });

  test("embeds token ids, in the length that is asked for", async () => {
    const { vectors, tokens } = await embed([[1, 2, 3], [4]], 8);
    expect(vectors.map((vector) => numbersOf(vector).length)).toEqual([8, 8]);
    expect(tokens).toBe(4);
  });

  test("ranks by words in common", async () => {
    const ranked = await driver.rerank?.(rerankAttempt("river dam", ["a dam in a river", "sea", "river"], model), calm);
    expect(ranked?.scores).toEqual([1, 0, 0.5]);
    expect(ranked?.tokens).toBeGreaterThan(0);
  });

  test("counts a text, and a conversation", async () => {
    expect(await driver.countTokens?.(countAttempt({ case: "prompt", value: "12345" }, model), calm)).toBe(2);
    const messages = [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "hello" } }] }];
    const chat = { case: "conversation" as const, value: { messages } };
    expect(await driver.countTokens?.(countAttempt(chat, model), calm)).toBe(3);
  });

  test.each([
    ["wrong_dims", "ENGINE_PROTOCOL"],
    ["nan", "ENGINE_PROTOCOL"],
    ["miscount", "ENGINE_PROTOCOL"],
    ["error", "ENGINE_FAILED"],
    ["reject", "ENGINE_OVERLOADED"],
    ["cut", "ENGINE_UNAVAILABLE"],
    ["early_end", "ENGINE_UNAVAILABLE"],
  ])("fails on command: %s", async (fault, reason) => {
    const failure = await failureOf(embed([`[[sim ${fault}]]`, "b"], 8));
    expect(failure.reason).toBe(reason);
  });

  test("lies about rankings and counts, and is found out", async () => {
    for (const lie of ["nan", "miscount"]) {
      const ranking = driver.rerank?.(rerankAttempt(`[[sim ${lie}]]`, ["a", "b"], model), calm);
      expect((await failureOf(ranking)).reason).toBe("ENGINE_PROTOCOL");
    }
    const count = driver.countTokens?.(countAttempt({ case: "prompt", value: "[[sim miscount]]" }, model), calm);
    expect((await failureOf(count)).reason).toBe("ENGINE_PROTOCOL");
  });

  test("refuses what no model takes", async () => {
    expect((await failureOf(embed(["x"], 4_097))).reason).toBe("ENGINE_REFUSED");
    expect((await failureOf(embed(["word ".repeat(9_000)]))).reason).toBe("CONTEXT_LENGTH_EXCEEDED");
  });

  test("hears that its caller left", async () => {
    const caller = new AbortController();
    const attempt = embedAttempt(["[[sim delay ms=60000]]"], { model });
    const asked = failureOf(driver.embed?.(attempt, caller.signal));
    const saw = (event: string) =>
      simulator.recorder.entries().some((entry) => entry.id === attempt.id && entry.event === event);
    await expect.poll(() => saw("started")).toBe(true);
    caller.abort(fail(ErrorReason.CANCELLED));
    expect((await asked).reason).toBe("CANCELLED");
    await expect.poll(() => saw("cancelled")).toBe(true);
  });
});
