import { afterAll, describe, expect, test } from "vitest";
import type { ModelInferRequest } from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { startSimulator } from "../../services/simulator/simulator.ts";
import { type FakeModel, lengthPrefixed, startFakeTriton } from "../fakes/fake-triton.ts";
import { attemptAt, run, start, targetAt } from "./attempts.ts";
import { openServed } from "./grpc-lies.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

describe.each([true, false])("older models of TensorRT-LLM, which count no tokens; decoupled: %s", (decoupled) => {
  const opened = (async () => {
    const speed = { prefillMsPerToken: 0, decodeMsPerToken: 1 };
    const simulator = cleanup.use(await startSimulator({ speed, triton: { port: 0, decoupled, counts: false } }));
    const driver = cleanup.use(openDriver(Dialect.TRITON, targetAt(simulator.grpcUrl)));
    return { driver, models: (await driver.probe(AbortSignal.timeout(10_000))).models };
  })();

  async function ended(name: string, prompt: string, more: Parameters<typeof attemptAt>[1] = {}) {
    const { driver, models } = await opened;
    const model = models.find(({ engineModel }) => engineModel === name);
    if (!model) throw new Error(`no ${name}`);
    const outcome = await run(driver, attemptAt(model, { input: { case: "prompt", value: prompt }, ...more }));
    expect([outcome.reason, outcome.usage, outcome.late]).toEqual([undefined, undefined, 0]);
    return outcome;
  }

  describe.each(["ensemble", "tensorrt_llm_bls"])("%s", (name) => {
    test.each([
      ["in one piece", false],
      ["in a stream", true],
    ])("an answer %s that was cut says so, and one that ended by itself", async (_, stream) => {
      for (let at = 0; at < 8; at += 1)
        expect((await ended(name, `[[sim length=400]] cut ${at}`, { stream })).finish()).toBe("LENGTH");
      expect((await ended(name, "[[sim length=6]] whole", { stream })).finish()).toBe("STOP");
    });

    test("a stop text ends it all the same", async () => {
      const sampling = { temperature: 0 };
      const said = (await ended(name, "[[sim length=400]] to there", { stream: false, sampling })).text();
      const stop = said.slice(8, 12);
      const asked = { stream: false, sampling: { ...sampling, stop: [stop] } };
      const outcome = await ended(name, "[[sim length=400]] to there", asked);
      expect([outcome.finish(), outcome.text()]).toEqual(["STOP", said.slice(0, said.indexOf(stop))]);
    });
  });

  test("each of several choices", async () => {
    if (!decoupled) return;
    const outcome = await ended("ensemble", "[[sim length=400]] two", { stream: false, choices: 2 });
    expect([outcome.finish(0), outcome.finish(1)]).toEqual(["LENGTH", "LENGTH"]);
  });
});

const tensor = (name: string, datatype: string) => ({ name, datatype, shape: [-1n, 1n] });
const step = [{ modelName: "before", inputMap: { QUERY: "text_input" } }];
const ensemble: FakeModel = {
  metadata: {
    inputs: [tensor("text_input", "BYTES"), tensor("max_tokens", "INT32")],
    outputs: [tensor("text_output", "BYTES")],
  },
  config: { maxBatchSize: 8, schedulingChoice: { case: "ensembleScheduling", value: { step } } },
};
const before: FakeModel = {
  metadata: {
    inputs: [tensor("QUERY", "BYTES"), tensor("REQUEST_OUTPUT_LEN", "INT32")],
    outputs: [tensor("REQUEST_INPUT_LEN", "INT32")],
  },
  config: { maxBatchSize: 8 },
};

describe("the model that counts", () => {
  const textOf = (said: string) => ({
    outputs: [{ ...tensor("text_output", "BYTES"), shape: [1n] }],
    rawOutputContents: [lengthPrefixed(said)],
  });
  const lengthOf = (count: number) => ({
    outputs: [{ ...tensor("REQUEST_INPUT_LEN", "INT32"), shape: [1n, 1n] }],
    rawOutputContents: [Buffer.from(Int32Array.of(count).buffer)],
  });

  /** An ensemble that says a text, behind a model that is asked how long it is. */
  async function serve(said: string, count: (request: ModelInferRequest) => ReturnType<typeof lengthOf>) {
    const questions: ModelInferRequest[] = [];
    const engine = await startFakeTriton({
      models: { fake: ensemble, before },
      inferOnce(request) {
        if (request.modelName === "fake") return textOf(said);
        questions.push(request);
        return count(request);
      },
    });
    const { driver, model } = cleanup.use(await openServed(Dialect.TRITON, engine));
    return { questions, driver, attempt: attemptAt(model, { stream: false }, { id: "the-id" }) };
  }

  async function answered(...given: Parameters<typeof serve>) {
    const { questions, driver, attempt } = await serve(...given);
    return { outcome: await run(driver, attempt), questions };
  }

  test("is asked about the answer, under another id, and puts its own token before it", async () => {
    const { outcome, questions } = await answered("four tokens", () => lengthOf(17));
    expect([outcome.finish(), outcome.text()]).toEqual(["LENGTH", "four tokens"]);
    expect(questions.map(({ id, modelName }) => [id, modelName])).toEqual([["the-id-0", "before"]]);
    expect(Buffer.from(questions[0]?.rawInputContents[0] ?? []).toString()).toContain("four tokens");
  });

  test.each([14, 0])("may count fewer tokens: %i of 16", async (count) => {
    expect((await answered("some tokens", () => lengthOf(count))).outcome.finish()).toBe("STOP");
  });

  test("may fail, and the answer is there all the same", async () => {
    const { outcome } = await answered("some tokens", () => ({ ...lengthOf(1), rawOutputContents: [] }));
    expect([outcome.reason, outcome.finish(), outcome.ended]).toEqual([undefined, "STOP", true]);
  });

  test.each([
    ["half \uFFFD", "LENGTH"],
    ["", "STOP"],
  ])("is not asked of %j", async (said, finish) => {
    const { outcome, questions } = await answered(said, () => lengthOf(99));
    expect([outcome.finish(), questions.length]).toEqual([finish, 0]);
  });

  test("says nothing to a caller who left meanwhile", async () => {
    const asked = Promise.withResolvers<void>();
    const { driver, attempt } = await serve("some", () => {
      running.cancel();
      asked.resolve();
      return lengthOf(99);
    });
    const running = start(driver, attempt);
    await asked.promise;
    // Another answer comes after what came of the question.
    await run(driver, { ...attempt, id: "another-id" });
    expect(running.outcome).toMatchObject({ ended: false, failure: undefined, late: 0 });
    expect(running.outcome.finish()).toBeUndefined();
  });
});
