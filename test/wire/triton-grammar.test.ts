import { afterAll, describe, expect, test } from "vitest";
import { Dialect, Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { startSimulator } from "../../services/simulator/simulator.ts";
import { callTriton, requestFor, tensorrt } from "./triton-calls.ts";
import { attemptAt, run, targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const jsonObject = { form: { case: "jsonObject" as const, value: {} } };

async function serve(guided: boolean) {
  const speed = { prefillMsPerToken: 0, decodeMsPerToken: 1 };
  const simulator = cleanup.use(await startSimulator({ speed, triton: { port: 0, guided } }));
  const driver = cleanup.use(openDriver(Dialect.TRITON, targetAt(simulator.grpcUrl)));
  const { models } = await driver.probe(AbortSignal.timeout(10_000));
  const named = (name: string) => {
    const model = models.find(({ engineModel }) => engineModel === name);
    if (!model) throw new Error(`no ${name}`);
    return model;
  };
  return { simulator, driver, named };
}

const guidedBy: readonly Feature[] = [Feature.JSON_SCHEMA, Feature.JSON_OBJECT, Feature.PATTERN, Feature.GRAMMAR];

describe.each([true, false])("TensorRT-LLM whose core has a grammar: %s", (guided) => {
  test("says so of its ensemble, BLS and core", async () => {
    const { named } = await serve(guided);
    for (const name of ["ensemble", "tensorrt_llm_bls", "tensorrt_llm"])
      expect(named(name).features.filter((feature) => guidedBy.includes(feature))).toEqual(guided ? guidedBy : []);
  });

  test.each(["ensemble", "tensorrt_llm_bls"])("gets a form from %s, or none is sent", async (name) => {
    const { driver, named } = await serve(guided);
    const asked = attemptAt(named(name), { responseFormat: jsonObject }, { maxTokens: 60 });
    const outcome = await run(driver, asked);
    expect([outcome.reason, outcome.text()]).toEqual(
      guided ? [undefined, '{"answer": "forty-two"}'] : ["UNSUPPORTED", ""],
    );
    const extras = { structured_outputs: { choice: ["yes", "no"] } };
    const free = await run(driver, attemptAt(named(name), {}, { extras }));
    expect(free.reason).toBeUndefined();
    expect(free.text() === "yes").toBe(guided);
  });
});

test("a form that is sent all the same fails in the engine", async () => {
  const { simulator } = await serve(false);
  using calls = callTriton(simulator.grpcUrl);
  const { errors } = await calls.infer(
    requestFor("a", "ensemble", tensorrt("x", { guided_decoding_guide_type: "json" })),
  );
  expect(errors.join()).toContain("GuidedDecoder is not setup");
});

test("the vLLM backend holds to forms by itself", async () => {
  const { driver, named } = await serve(false);
  const said = async (request: Parameters<typeof attemptAt>[1], extras = {}) => {
    const outcome = await run(driver, attemptAt(named("vllm_model"), request, { extras, maxTokens: 60 }));
    return outcome.reason ?? outcome.text();
  };
  const schemaJson = '{"properties":{"river":{"type":"string"}}}';
  expect(await said({ responseFormat: jsonObject })).toBe('{"answer": "forty-two"}');
  expect(await said({ responseFormat: { form: { case: "jsonSchema", value: { name: "x", schemaJson } } } })).toBe(
    '{"river":"river"}',
  );
  expect(await said({}, { structured_outputs: { choice: ["yes", "no"] } })).toBe("yes");
});
