import { status } from "@grpc/grpc-js";
import { afterAll, describe, expect, test } from "vitest";
import type { ModelInferRequest } from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { startSimulator } from "../../services/simulator/simulator.ts";
import {
  type FakeInference,
  type FakeModel,
  type FakeTriton,
  lengthPrefixed,
  startFakeTriton,
  textResponse,
} from "../fakes/fake-triton.ts";
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

  type AttemptArgs = Parameters<typeof attemptAt>;

  async function ended(name: string, prompt: string, request: AttemptArgs[1] = {}, more: AttemptArgs[2] = {}) {
    const { driver, models } = await opened;
    const model = models.find(({ engineModel }) => engineModel === name);
    if (!model) throw new Error(`no ${name}`);
    const outcome = await run(driver, attemptAt(model, { input: { case: "prompt", value: prompt }, ...request }, more));
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
      expect((await ended(name, "[[sim length=6]] whole", { stream, sampling: { temperature: 0 } })).finish()).toBe(
        "STOP",
      );
    });

    test.each([2, 3])("a short one, of %i tokens at most", async (maxTokens) => {
      expect((await ended(name, "[[sim length=400]] cut", { stream: false }, { maxTokens })).finish()).toBe("LENGTH");
      expect((await ended(name, "[[sim length=1]] whole", { stream: false }, { maxTokens })).finish()).toBe("STOP");
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
const ensembleThat = (decoupled: boolean): FakeModel => ({
  metadata: {
    inputs: [tensor("text_input", "BYTES"), tensor("max_tokens", "INT32")],
    outputs: [tensor("text_output", "BYTES")],
  },
  config: {
    maxBatchSize: 8,
    modelTransactionPolicy: { decoupled },
    schedulingChoice: { case: "ensembleScheduling", value: { step } },
  },
});
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

  const nothing = { ...lengthOf(1), rawOutputContents: [] };
  const textIn = ({ rawInputContents: [text] }: ModelInferRequest) =>
    Buffer.from(text ?? [])
      .subarray(4)
      .toString();

  interface Counting {
    /** What the model says of the empty text. */
    readonly added?: ReturnType<typeof lengthOf>;
    readonly maxTokens?: number;
    /** Answers a generation as a stream. */
    readonly infer?: (inference: FakeInference) => void;
  }

  /** An ensemble that says a text, behind a model that is asked how long it is. */
  async function serve(
    said: string,
    count: (request: ModelInferRequest) => ReturnType<typeof lengthOf>,
    { added = lengthOf(1), maxTokens = 16, infer }: Counting = {},
  ) {
    const questions: ModelInferRequest[] = [];
    const engine = await startFakeTriton({
      models: { fake: ensembleThat(infer !== undefined), before },
      ...(infer ? { infer } : {}),
      inferOnce(request) {
        if (request.modelName === "fake") return textOf(said);
        questions.push(request);
        return textIn(request) === "" ? added : count(request);
      },
    });
    const { driver, model } = cleanup.use(await openServed(Dialect.TRITON, engine));
    return { questions, engine, driver, attempt: attemptAt(model, { stream: false }, { id: "the-id", maxTokens }) };
  }

  async function answered(...given: Parameters<typeof serve>) {
    const { questions, driver, attempt } = await serve(...given);
    return { outcome: await run(driver, attempt), questions };
  }

  test("is asked about the answer and about an empty text, under other ids", async () => {
    const { outcome, questions } = await answered("four tokens", () => lengthOf(17));
    expect([outcome.finish(), outcome.text()]).toEqual(["LENGTH", "four tokens"]);
    expect(questions.map((asked) => [asked.id, asked.modelName, textIn(asked)])).toEqual([
      ["the-id-0", "before", "four tokens"],
      ["the-id-0-empty", "before", ""],
    ]);
  });

  test("is asked about an empty text until it has said once how many tokens that is", async () => {
    const { driver, attempt, questions } = await serve("some", () => lengthOf(17));
    for (const id of ["one", "two", "three"]) await run(driver, { ...attempt, id });
    expect(questions.map(({ id }) => id)).toEqual(["one-0", "one-0-empty", "two-0", "three-0"]);
    const silent = await serve("some", () => lengthOf(17), { added: nothing });
    for (const id of ["one", "two"]) await run(silent.driver, { ...silent.attempt, id });
    expect(silent.questions.map(({ id }) => id)).toEqual(["one-0", "one-0-empty", "two-0", "two-0-empty"]);
  });

  test.each([
    [16, 17, "LENGTH"],
    [16, 16, "LENGTH"],
    [16, 15, "STOP"],
    [16, 0, "STOP"],
    [8, 8, "LENGTH"],
    [8, 7, "STOP"],
    [7, 8, "LENGTH"],
    [7, 7, "STOP"],
    [3, 4, "LENGTH"],
    [3, 2, "STOP"],
    [2, 3, "LENGTH"],
    [2, 2, "STOP"],
    [1, 2, "LENGTH"],
  ])("of at most %i tokens it says %i, one of which it has added: %s", async (maxTokens, counted, finish) => {
    const { outcome } = await answered("some", () => lengthOf(counted), { maxTokens });
    expect(outcome.finish()).toBe(finish);
  });

  test("may add none", async () => {
    const { outcome } = await answered("some", () => lengthOf(3), { maxTokens: 3, added: lengthOf(0) });
    expect(outcome.finish()).toBe("LENGTH");
  });

  test("may fail, and the answer is there all the same", async () => {
    const { outcome } = await answered("some tokens", () => nothing);
    expect([outcome.reason, outcome.finish(), outcome.ended]).toEqual([undefined, "STOP", true]);
  });

  test.each([
    ["half \uFFFD", "LENGTH"],
    ["", "STOP"],
  ])("is not asked of %j", async (said, finish) => {
    const { outcome, questions } = await answered(said, () => lengthOf(99));
    expect([outcome.finish(), questions.length]).toEqual([finish, 0]);
  });

  test.each<[string, (inference: FakeInference, engine: FakeTriton) => void, string]>([
    ["reset", ({ call }) => call.reset(2), "LENGTH"],
    ["ended with a status", (inference) => inference.end(status.INTERNAL, "out of memory"), "LENGTH"],
    ["lost with its connection", (_, engine) => engine.die(), "STOP"],
  ])("is waited for where the call of the whole answer is %s meanwhile", async (_, end, finish) => {
    const { engine, driver, attempt } = await serve(
      "",
      () => {
        const [inference] = engine.inferences;
        if (inference) end(inference, engine);
        return lengthOf(17);
      },
      { infer: ({ request, send }) => void send(textResponse(request.id, "the whole", { final: true })) },
    );
    const outcome = await run(driver, attempt);
    expect([outcome.reason, outcome.text(), outcome.finish()]).toEqual([undefined, "the whole", finish]);
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
