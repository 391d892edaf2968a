import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Feature, type ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { CountSource } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Attempt, Driver } from "../../services/drivers/driver.ts";
import { attemptAt, Outcome, type Running, run, start } from "./attempts.ts";
import { seamOf, withoutBroken } from "./said-texts.ts";

/** What a prompt makes the engine do. */
export type Shape =
  /** Ends by itself or by the limit, soon. */
  | "short"
  /** Decodes for at least 10 s, at least a token every 100 ms. */
  | "slow"
  /** Is silent for at least 10 s before its first token: longer than a stop may take. */
  | "prefill"
  /** Does not fit the context. */
  | "overlong"
  /** Fails inside the engine after a few tokens. */
  | "failing";

export interface Asked {
  readonly prompt: string;
  readonly maxTokens: number;
  /** For engines that would end too early, and can be told so in one way or the other. */
  readonly ignoreEos?: boolean;
  readonly minTokens?: number;
}

/** An engine with one model, as the suite steers and observes it. */
export interface SuiteEngine extends AsyncDisposable {
  readonly driver: Driver;
  readonly model: ReplicaModel;
  /** How many requests it works on at once; more wait inside it. */
  readonly slots: number;
  /** How many generations it works on or keeps waiting: from its own log, never from what it answered. */
  working(): Promise<number>;
  /** Ends it at once. The suite starts another one. */
  kill(): Promise<void>;
}

/** What is known of an engine beside its features. */
export interface SuiteTraits {
  /** A prompt of each shape that the engine has, and the tokens to ask for. */
  readonly shapes: Readonly<Partial<Record<Shape, Asked>>>;
  /** A generation can be stopped from outside; false: it has no tests of it. */
  readonly cancels: boolean;
  /** False: a cancelled request that waits stays in the engine's queue until its turn comes, and is dropped then. */
  readonly leavesQueue?: boolean;
  /** Sampling parameters that it has no place for. */
  readonly lacks?: readonly (keyof typeof params)[];
  /** False: it counts no tokens. */
  readonly counts?: boolean;
  /** False: it has one model, and takes every name for it. */
  readonly knowsModels?: boolean;
}

/** Real engines share a busy machine; the gateway's own bound is measured elsewhere, over many aborts. */
const stopTimeoutMs = 5_000;

/** A real engine starts again in this test: vLLM takes a minute on an idle machine. */
const restartTimeoutMs = 420_000;

/**
 * What every driver owes its callers, run against an engine that speaks the protocol: a real one, or the simulator.
 *
 *     describeDriver("the triton driver at an ensemble", { shapes, cancels: true }, startEnsemble);
 */
export function describeDriver(title: string, traits: SuiteTraits, makeEngine: () => Promise<SuiteEngine>): void {
  describe(title, () => {
    let engine: SuiteEngine;
    beforeAll(async () => {
      engine = await makeEngine();
    });
    afterAll(() => engine[Symbol.asyncDispose]());

    const attempt: Make = (shape, request = {}, more = {}) => {
      const asked = traits.shapes[shape];
      if (!asked) throw new Error(`the engine has no ${shape} prompt`);
      const { prompt, maxTokens, ignoreEos = false, minTokens } = asked;
      const least = minTokens === undefined ? {} : { minTokens };
      const sampling = { ignoreEos, ...least, ...request.sampling };
      const takesPrompts = engine.model.features.includes(Feature.PROMPT);
      const input = takesPrompts ? { case: "prompt" as const, value: prompt } : conversationOf(prompt);
      const rest = { maxTokens, cacheSalt: "of-a-project", ...more };
      return attemptAt(engine.model, { input, ...request, sampling }, rest);
    };
    const suite: Suite = { traits, engine: () => engine, attempt };
    describeAnswers(suite);
    if (!traits.lacks?.includes("seed")) describeSeeds(suite);
    describeFailures(suite);
    if (traits.shapes.failing) describeInnerFailure(suite);
    if (traits.knowsModels !== false) describeMissingModel(suite);
    describeFlow(suite);
    if (traits.cancels && traits.shapes.prefill) describeCancelInPrefill(suite);
    if (traits.cancels) describeCancel(suite);
    describeDeath(suite, makeEngine, (next) => {
      engine = next;
    });
  });
}

type Make = (shape: Shape, request?: Parameters<typeof attemptAt>[1], more?: Partial<Attempt>) => Attempt;

interface Suite {
  readonly traits: SuiteTraits;
  engine(): SuiteEngine;
  readonly attempt: Make;
}

/** The members that engines may lack, with what the caller knows them by and a value that has an effect. */
const params = {
  frequencyPenalty: { param: "frequency_penalty", value: 0.1 },
  presencePenalty: { param: "presence_penalty", value: 0.1 },
  minP: { param: "min_p", value: 0.1 },
  topK: { param: "top_k", value: 20 },
  seed: { param: "seed", value: 5n },
};

function conversationOf(text: string) {
  const parts = [{ part: { case: "text" as const, value: text } }];
  return { case: "conversation" as const, value: { messages: [{ role: Role.USER, parts }] } };
}

/** Sampling that says the same each time, where a seed may be given or not. */
function repeated({ lacks = [] }: SuiteTraits, seed: bigint, temperature = 0) {
  return lacks.includes("seed") ? { temperature: 0 } : { seed, temperature };
}

function describeAnswers({ engine, attempt, traits }: Suite): void {
  const ask = (...wanted: Parameters<Make>) => run(engine().driver, attempt(...wanted));
  const { counts = true } = traits;

  test("a stream: started, deltas, finished, usage, end", async () => {
    const outcome = await ask("short");
    expect(outcome.reason).toBeUndefined();
    expect(outcome.order).toEqual(["started", "delta", "finished", ...(counts ? ["usage"] : [])]);
    expect(outcome.deltas.length).toBeGreaterThan(3);
    expect(outcome.late).toBe(0);
  });

  test("the same text at once as in a stream", async () => {
    const sampling = repeated(traits, 11n);
    const streamed = await ask("short", { sampling });
    const whole = await ask("short", { sampling, stream: false });
    expect(whole.reason).toBeUndefined();
    // Ensembles decode token by token: a character over several tokens is lost in the stream.
    expect(withoutBroken(whole.text())).toBe(withoutBroken(streamed.text()));
    expect(whole.text()).not.toBe("");
  });

  test("the limit of tokens ends the text, and is told", async () => {
    const outcome = await ask("short", {}, { maxTokens: 4 });
    expect(outcome.finish()).toBe("LENGTH");
    if (counts) expect(outcome.usage?.completionTokens).toBe(4n);
    expect((await ask("short", { stream: false }, { maxTokens: 4 })).finish()).toBe("LENGTH");
  });

  test("counts are the engine's, and deltas hold no more than them", async () => {
    const outcome = await ask("short");
    const { usage } = outcome;
    if (!counts) return expect([usage, outcome.tokens()]).toEqual([undefined, 0]);
    expect(usage?.promptSource).toBe(CountSource.ENGINE);
    expect(usage?.completionSource).toBe(CountSource.ENGINE);
    expect(usage?.promptTokens).toBeGreaterThan(0n);
    expect(outcome.tokens()).toBeLessThanOrEqual(Number(usage?.completionTokens));
  });

  test("every sampling parameter that the model has is taken, and the others are refused by name", async () => {
    const sampling = { temperature: 0.7, topP: 0.9, topK: 20, seed: 3n, frequencyPenalty: 0.1, presencePenalty: 0.1 };
    const lacks = traits.lacks ?? [];
    const had = Object.fromEntries(Object.entries(sampling).filter(([name]) => !lacks.some((one) => one === name)));
    expect((await ask("short", { sampling: had })).reason).toBeUndefined();
    for (const name of lacks) {
      const { param, value } = params[name];
      const { reason, failure } = await ask("short", { sampling: { [name]: value } });
      expect([reason, failure?.facts["param"]]).toEqual(["UNSUPPORTED", param]);
    }
    expect((await ask("short", { sampling: { topK: -1 } })).reason).toBeUndefined();
  });

  test("a stop text ends the text before it, also over two deltas", async () => {
    const sampling = repeated(traits, 11n);
    const free = await ask("short", { sampling });
    const stop = seamOf(free);
    const stopped = await ask("short", { sampling: { ...sampling, stop: [stop] } });
    expect(stopped.finish()).toBe("STOP");
    expect(stopped.text()).toBe(free.text().slice(0, free.text().indexOf(stop)));
  });

  test("several choices, each with its finish", async () => {
    const choices = 2;
    const outcome = await ask("short", { choices, sampling: { temperature: 1 } });
    if (!engine().model.features.includes(Feature.CHOICES)) return expect(outcome.reason).toBe("UNSUPPORTED");
    expect(outcome.reason).toBeUndefined();
    for (let choice = 0; choice < choices; choice += 1) {
      expect(outcome.text(choice)).not.toBe("");
      expect(outcome.finish(choice)).toBeDefined();
    }
  });

  test("log probabilities come with their tokens, or are refused by name", async () => {
    const outcome = await ask("short", { logprobs: { top: 2 } });
    if (!engine().model.features.includes(Feature.LOGPROBS))
      return expect(outcome.failure?.facts).toMatchObject({ param: "logprobs", model: "caller-model" });
    expect(outcome.reason).toBeUndefined();
    const tokens = outcome.deltas.flatMap((delta) => delta.logprobs);
    expect(tokens.length).toBeGreaterThan(3);
    for (const token of tokens) {
      expect(token.logprob).toBeLessThanOrEqual(0);
      // The drawn token may be one more, where it was not among the likeliest; where alternatives are listed by their
      // texts, two of the same broken character are one.
      expect(token.top.length).toBeOneOf([1, 2, 3]);
    }
  });
}

function describeSeeds({ engine, attempt }: Suite): void {
  test("a seed gives the same text again, another seed another", async () => {
    const texts = [];
    for (const seed of [5n, 5n, 6n]) {
      const outcome = await run(engine().driver, attempt("short", { sampling: { seed, temperature: 1 } }));
      texts.push(outcome.text());
    }
    expect(texts[1]).toBe(texts[0]);
    expect(texts[2]).not.toBe(texts[0]);
  });
}

function describeFailures({ engine, attempt }: Suite): void {
  test("a prompt beyond the context is told with its numbers", async () => {
    const outcome = await run(engine().driver, attempt("overlong"));
    expect(outcome.reason).toBe("CONTEXT_LENGTH_EXCEEDED");
    expect(Number(outcome.failure?.facts["limit"])).toBeGreaterThan(0);
    expect(Number(outcome.failure?.facts["prompt_tokens"])).toBeGreaterThan(Number(outcome.failure?.facts["limit"]));
    expect(outcome.events).toEqual([]);
  });

  test("what the model cannot do is refused by name, and nothing is sent", async () => {
    const wishes: [Feature, string, Parameters<Make>[1]][] = [
      [Feature.TOOLS, "tools", { tools: [{ name: "f" }] }],
      [Feature.ECHO, "echo", { echo: true }],
      [Feature.SUFFIX, "suffix", { suffix: "x" }],
      [Feature.TOKEN_IDS, "prompt", { input: { case: "tokenIds", value: { ids: [1] } } }],
    ];
    for (const [feature, param, request] of wishes) {
      if (engine().model.features.includes(feature)) continue;
      const outcome = await run(engine().driver, attempt("short", request));
      expect([outcome.reason, outcome.failure?.facts["param"]]).toEqual(["UNSUPPORTED", param]);
    }
  });
}

function describeInnerFailure({ engine, attempt }: Suite): void {
  test("a failure inside the engine is one failure", async () => {
    const outcome = await run(engine().driver, attempt("failing"));
    expect(outcome.reason).toBe("ENGINE_FAILED");
    expect(outcome.failure?.facts["problem"]).not.toMatch(/request id|Traceback|\/|ensemble/);
    expect([outcome.ended, outcome.late]).toEqual([false, 0]);
  });
}

function describeMissingModel({ engine, attempt }: Suite): void {
  test("a model that the engine has not is for another replica", async () => {
    const missing: ReplicaModel = { ...engine().model, engineModel: "no-such-model" };
    const outcome = await run(engine().driver, { ...attempt("short"), model: missing });
    expect(outcome.reason).toBe("ENGINE_UNAVAILABLE");
  });
}

function describeCancelInPrefill({ engine, attempt }: Suite): void {
  test("cancel reaches the engine before its first token", async () => {
    const running = start(engine().driver, attempt("prefill"));
    await reaches(() => engine().working(), 1);
    running.cancel();
    await reaches(() => engine().working(), 0);
    expect(running.outcome.deltas).toEqual([]);
  });
}

function describeCancel({ engine, attempt, traits }: Suite): void {
  const begin = (shape: Shape) => start(engine().driver, attempt(shape));

  async function expectIdle(): Promise<void> {
    await reaches(() => engine().working(), 0);
  }

  describe("cancel reaches the engine", () => {
    test("while it decodes", async () => {
      const running = begin("slow");
      await running.outcome.until(() => running.outcome.deltas.length > 2);
      running.cancel();
      await expectIdle();
      expect(running.outcome).toMatchObject({ ended: false, failure: undefined, late: 0 });
    });

    test("while it waits for a place", async () => {
      const { slots } = engine();
      const busy = await fill(slots, begin);
      const waiting = begin("slow");
      await reaches(() => engine().working(), slots + 1);
      waiting.cancel();
      if (traits.leavesQueue !== false) await reaches(() => engine().working(), slots);
      expect(waiting.outcome.events).toEqual([]);
      for (const running of busy) running.cancel();
      await expectIdle();
    });

    test("for a plain answer too", async () => {
      const running = start(engine().driver, attempt("slow", { stream: false }));
      await reaches(() => engine().working(), 1);
      running.cancel();
      await expectIdle();
    });

    // After all that ran before.
    test("nothing is left behind", expectIdle);
  });
}

function describeFlow({ engine, attempt, traits }: Suite): void {
  test("many requests side by side have each their own text", async () => {
    const attempts = Array.from({ length: 24 }, (_, at) =>
      attempt("short", { sampling: repeated(traits, BigInt(at), 1) }),
    );
    const together = await Promise.all(attempts.map((one) => run(engine().driver, one)));
    expect(together.map((outcome) => outcome.reason)).toEqual(attempts.map(() => undefined));
    const alone = await run(engine().driver, attempt("short", { sampling: repeated(traits, 7n, 1) }));
    expect(together[7]?.text()).toBe(alone.text());
  });

  test("a reader that is full gets the rest when it reads on", async () => {
    const outcome = new Outcome();
    outcome.isFull = true;
    const sampling = repeated(traits, 11n);
    start(engine().driver, attempt("short", { sampling }), outcome);
    await outcome.until(() => outcome.events.length > 0);
    await delay(200);
    outcome.isFull = false;
    outcome.resume?.();
    await outcome.done;
    expect(outcome.text()).toBe((await run(engine().driver, attempt("short", { sampling }))).text());
  });
}

function describeDeath(
  { engine, attempt, traits }: Suite,
  make: () => Promise<SuiteEngine>,
  use: (next: SuiteEngine) => void,
) {
  test(
    "a dead engine ends what runs and what comes, and says so once",
    async () => {
      const decoding = start(engine().driver, attempt("slow")).outcome;
      await decoding.until(() => decoding.deltas.length > 2);
      const silent = traits.shapes.prefill ? start(engine().driver, attempt("prefill")).outcome : undefined;
      await engine().kill();
      for (const outcome of [decoding, silent]) {
        await outcome?.done;
        if (outcome) expect([outcome.reason, outcome.ended, outcome.late]).toEqual(["ENGINE_UNAVAILABLE", false, 0]);
      }
      expect((await run(engine().driver, attempt("short"))).reason).toBe("ENGINE_UNAVAILABLE");
      await expect(engine().driver.probe(AbortSignal.timeout(5_000))).rejects.toThrow("could not be reached");
      await engine()[Symbol.asyncDispose]();
      use(await make());
      expect((await run(engine().driver, attempt("short"))).reason).toBeUndefined();
    },
    restartTimeoutMs,
  );
}

async function fill(slots: number, begin: (shape: Shape) => Running): Promise<Running[]> {
  const running = Array.from({ length: slots }, () => begin("slow"));
  await Promise.all(running.map(({ outcome }) => outcome.until(() => outcome.deltas.length > 0)));
  return running;
}

async function reaches(read: () => Promise<number>, wanted: number): Promise<void> {
  const deadline = performance.now() + stopTimeoutMs;
  for (;;) {
    const seen = await read();
    if (seen === wanted) return;
    if (performance.now() > deadline)
      throw new Error(`the engine works on ${seen}, not ${wanted}, after ${stopTimeoutMs} ms`);
    await delay(10);
  }
}
