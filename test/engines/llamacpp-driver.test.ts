import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Dialect, Feature, type ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Driver } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { targetAt } from "../wire/attempts.ts";
import { type Asked, describeDriver, type Shape, type SuiteEngine } from "../wire/driver-suite.ts";
import { requireEngines } from "./availability.ts";
import { calm, countAttempt, embedAttempt, failureOf, numbersOf, rerankAttempt } from "../wire/unary-calls.ts";
import { type LlamaCppServer, startLlamaCpp } from "./llamacpp/server.ts";

const gate = await requireEngines("llamacpp");

const slots = 2;

const shapes: Readonly<Partial<Record<Shape, Asked>>> = {
  short: { prompt: "tell me of the river", maxTokens: 16, ignoreEos: true },
  slow: { prompt: "tell me all of it", maxTokens: 7_500, ignoreEos: true },
  overlong: { prompt: "word ".repeat(9_000), maxTokens: 16 },
};

async function startServer(): Promise<SuiteEngine> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await startLlamaCpp({ slots }));
  const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
  const [model] = (await driver.probe(AbortSignal.timeout(10_000))).models;
  if (!model) throw new Error("the probe found no model");
  const owned = cleanup.move();
  return {
    driver,
    model,
    slots,
    working: async () => (await server.busySlots()) + ((await server.metric("llamacpp:requests_deferred")) ?? 0),
    kill: () => server.kill(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

describe.skipIf(gate.skip)(gate.title("the openai driver"), () => {
  // A cancelled request stays in its queue, and is dropped when its turn comes: nothing is generated for it.
  // It has one model, and takes every name for it.
  describeDriver("at llama.cpp", { shapes, cancels: true, leavesQueue: false, knowsModels: false }, startServer);
});

describe.skipIf(gate.skip)(gate.title("what llama.cpp does beside generating"), () => {
  let server: LlamaCppServer;
  let driver: Driver;
  let model: ReplicaModel;

  beforeAll(async () => {
    server = await startLlamaCpp({ slots, embeddings: true });
    driver = openDriver(Dialect.OPENAI, targetAt(server.url));
    const [found] = (await driver.probe(calm)).models;
    if (!found) throw new Error("the probe found no model");
    model = found;
  }, 120_000);
  afterAll(async () => {
    await driver?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  const ask = async (path: string, body: object): Promise<unknown> =>
    await (await fetch(server.url + path, { method: "POST", body: JSON.stringify(body) })).json();

  test("its vectors are those that it tells as numbers, and its counts its own", async () => {
    const input = ["the river runs", "a dam of stone", "the river runs"];
    const embedded = await driver.embed?.(embedAttempt(input, { model }), calm);
    const told = (await ask("/v1/embeddings", { input })) as {
      data: { embedding: number[] }[];
      usage: { prompt_tokens: number };
    };
    const vectors = embedded?.vectors.map(numbersOf) ?? [];
    expect(vectors).toHaveLength(3);
    for (const [at, vector] of vectors.entries()) {
      expect(vector).toEqual(told.data[at]?.embedding.map(Math.fround));
      expect(Math.hypot(...vector)).toBeCloseTo(1, 4);
    }
    expect(vectors[0]).not.toEqual(vectors[1]);
    expect(embedded?.tokens).toBe(told.usage.prompt_tokens);
  });

  test("the token ids of a text are embedded like the text", async () => {
    const content = "the river runs";
    const { tokens } = (await ask("/tokenize", { content, add_special: true })) as { tokens: number[] };
    const embedded = await driver.embed?.(embedAttempt([tokens], { model }), calm);
    const byText = await driver.embed?.(embedAttempt([content], { model }), calm);
    expect(embedded?.vectors.map(numbersOf)).toEqual(byText?.vectors.map(numbersOf));
    expect(embedded?.tokens).toBe(tokens.length);
  });

  test("a conversation has as many tokens as are counted when it is answered", async () => {
    const messages = [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "Hello there" } }] }];
    const count = await driver.countTokens?.(countAttempt({ case: "conversation", value: { messages } }, model), calm);
    const answer = (await ask("/v1/chat/completions", {
      messages: [{ role: "user", content: "Hello there" }],
      max_tokens: 1,
    })) as { usage: { prompt_tokens: number } };
    expect(count).toBe(answer.usage.prompt_tokens);
  });

  test("a text that is too long is the caller's fault, and what it lacks is said as such", async () => {
    const long = driver.embed?.(embedAttempt(["word ".repeat(9_000)], { model }), calm);
    expect((await failureOf(long)).reason).toBe("CONTEXT_LENGTH_EXCEEDED");
    expect((await failureOf(driver.rerank?.(rerankAttempt("q", ["a"], model), calm))).reason).toBe("UNSUPPORTED");
    // It takes the member, and does nothing with it.
    expect(model.features).not.toContain(Feature.EMBED_DIMENSIONS);
  });

  test("a server that was not started for it says so", async () => {
    await using bare = await startLlamaCpp({ slots });
    await using asking = openDriver(Dialect.OPENAI, targetAt(bare.url));
    expect((await failureOf(asking.embed?.(embedAttempt(["x"], { model }), calm))).reason).toBe("UNSUPPORTED");
  }, 120_000);
});
