import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Dialect, type ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Driver } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { createTokenizers } from "../../services/drivers/tokens/tokenizers.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { startSimulator } from "../../services/simulator/simulator.ts";
import { endId, tokenizerFile } from "../../services/simulator/vocabulary.ts";
import { encodingDriver } from "../fakes/encoding-driver.ts";
import { tokenizerSource } from "../fakes/tokenizer-files.ts";
import { attemptAt, run, targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

let driver: Driver;
let encoding: Driver;
let models: readonly ReplicaModel[];

beforeAll(async () => {
  const speed = { prefillMsPerToken: 0, decodeMsPerToken: 1 };
  const simulator = cleanup.use(await startSimulator({ speed, triton: { port: 0 } }));
  driver = cleanup.use(openDriver(Dialect.TRITON, targetAt(simulator.grpcUrl)));
  const tokenizers = cleanup.use(createTokenizers({ clock: systemClock, unusable: () => undefined }));
  encoding = encodingDriver(driver, tokenizers.of(tokenizerSource(tokenizerFile(), [endId])));
  models = (await driver.probe(AbortSignal.timeout(10_000))).models;
});

describe.each(["ensemble", "tensorrt_llm_bls", "tensorrt_llm", "llmapi", "vllm_model"])("sampling at %s", (name) => {
  const said = async (sampling: NonNullable<Parameters<typeof attemptAt>[1]>["sampling"]) => {
    const model = models.find(({ engineModel }) => engineModel === name);
    if (!model) throw new Error(`no ${name}`);
    const outcome = await run(model.needsTokenizer ? encoding : driver, attemptAt(model, { sampling }));
    expect(outcome.reason).toBeUndefined();
    return outcome.text();
  };

  test.each([
    ["nothing is said", {}],
    ["a temperature is", { temperature: 0.7 }],
    ["top_p is", { topP: 0.9 }],
    ["top_k is", { topK: 40 }],
    ["top_k is for all tokens", { topK: -1 }],
  ])("another text each time where %s", async (_, sampling) => {
    expect(await said(sampling)).not.toBe(await said(sampling));
  });

  test("the same text for the same seed, and at a temperature of 0", async () => {
    expect(await said({ seed: 5n })).toBe(await said({ seed: 5n }));
    expect(await said({ seed: 5n })).not.toBe(await said({ seed: 6n }));
    expect(await said({ temperature: 0 })).toBe(await said({ temperature: 0 }));
  });
});
