import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { Operation } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { CountSource } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import {
  CountTokensRequestSchema,
  type EmbedRequest,
  EmbedRequestSchema,
  RerankRequestSchema,
} from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { Role } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { vectorFrom } from "../../../services/drivers/unary.ts";
import type { Ask } from "../../../services/router/quota/desk.ts";
import type { Grant } from "../../../services/router/quota/grant.ts";
import { unlimited } from "../../../services/router/quota/grant.ts";
import type { Tokens } from "../../../services/router/quota/terms.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { byteLevelTokenizer, tokenizerSource } from "../../fakes/tokenizer-files.ts";
import { anyone, RouterWorld, type WorldOptions } from "../../fakes/router-world.ts";

const features: readonly Feature[] = [Feature.EMBED, Feature.EMBED_TOKEN_IDS, Feature.EMBED_DIMENSIONS, Feature.RERANK];

function worldWith(options: WorldOptions = {}, replicas = ["a"], more = features): RouterWorld {
  const world = new RouterWorld(options);
  world.pool();
  world.model({ id: "m" });
  for (const id of replicas) world.replica(id, { features: more });
  return world;
}

const texts = (...all: string[]): EmbedRequest =>
  create(EmbedRequestSchema, { model: "m", inputs: all.map((value) => ({ input: { case: "text" as const, value } })) });
const ids = (...all: number[][]): EmbedRequest =>
  create(EmbedRequestSchema, {
    model: "m",
    inputs: all.map((list) => ({ input: { case: "tokenIds" as const, value: { ids: list } } })),
  });
const vectors = (count: number) => Array.from({ length: count }, (_, i) => vectorFrom([i, 0.5]));
/** A promise's handlers, and the journal's, have run. */
const soon = () => new Promise((resolve) => setImmediate(resolve));
const later = async (promise: Promise<unknown>) => await promise.catch((error: unknown) => error);

/** Limits that note what is asked of them, and what becomes of it. */
class NotedQuota {
  readonly asks: Ask[] = [];
  readonly ends: (Tokens | "released")[] = [];
  denial: ReturnType<typeof fail> | undefined;

  take(ask: Ask): Grant | ReturnType<typeof fail> {
    this.asks.push(ask);
    if (this.denial) return this.denial;
    return {
      ...unlimited,
      settle: (used) => void this.ends.push(used),
      release: () => void this.ends.push("released"),
    };
  }
}

describe("an embedding", () => {
  test("goes to a replica, comes back in its order, and is one record and one settlement", async () => {
    const quota = new NotedQuota();
    const world = worldWith({ quota });
    const answer = world.ask("embed", texts("river", "weir"));
    world.driver("a").lastAsk.answer({ vectors: vectors(2), tokens: 9 });
    const { embeddings, usage, started } = await answer;
    expect(embeddings.map(({ values }) => values)).toEqual(vectors(2));
    expect(usage).toMatchObject({ promptTokens: 9n, completionTokens: 0n, promptSource: CountSource.ENGINE });
    expect(started).toMatchObject({ model: "m", attempt: 1 });
    expect(world.driver("a").lastAsk.attempt).toMatchObject({ model: { engineModel: "engine-m" }, id: "request-1-1" });
    expect(world.journal.finals).toMatchObject([
      {
        operation: "embed",
        model: "m",
        replicaId: "a",
        endReason: EndReason.COMPLETED,
        tokens: { promptTokens: 9n, completionTokens: 0n, promptSource: CountSource.ENGINE },
        attempts: [{ replicaId: "a", errorReason: ErrorReason.UNSPECIFIED }],
      },
    ]);
    expect(quota.asks).toMatchObject([
      { operation: Operation.EMBED, model: "m", expected: { inputTokens: 3, outputTokens: 0 } },
    ]);
    expect(quota.ends).toEqual([{ inputTokens: 9, outputTokens: 0 }]);
    expect(world.inFlight).toBe(0);
    expect(world.records).toMatchObject([{ operation: "embed", reason: undefined }]);
  });

  test("of token ids is counted exactly before it is sent, and where the engine does not count", async () => {
    const quota = new NotedQuota();
    const world = worldWith({ quota });
    const answer = world.ask("embed", ids([1, 2, 3], [4]));
    world.driver("a").lastAsk.answer({ vectors: vectors(2), tokens: undefined });
    const { usage, embeddings } = await answer;
    expect(quota.asks[0]).toMatchObject({ expected: { inputTokens: 4 }, least: { inputTokens: 4 } });
    expect(usage).toMatchObject({ promptTokens: 4n, promptSource: CountSource.COUNTED });
    expect(embeddings.map(({ tokens }) => tokens)).toEqual([3n, 1n]);
    expect(quota.ends).toEqual([{ inputTokens: 4, outputTokens: 0 }]);
  });

  test("of a text whose engine does not count, or counts what can't be, is estimated", async () => {
    for (const tokens of [undefined, 2 ** 30]) {
      const world = worldWith();
      const answer = world.ask("embed", texts("a".repeat(40)));
      world.driver("a").lastAsk.answer({ vectors: vectors(1), tokens });
      expect((await answer).usage).toMatchObject({ promptTokens: 10n, promptSource: CountSource.ESTIMATED });
    }
  });

  test("that a limit refuses leaves no record and reaches no engine", async () => {
    const quota = new NotedQuota();
    quota.denial = fail(ErrorReason.RATE_LIMITED);
    const world = worldWith({ quota });
    expect(await later(world.ask("embed", texts("x")))).toMatchObject({ reason: ErrorReason.RATE_LIMITED });
    expect(world.driver("a").asks).toEqual([]);
    expect(world.journal.finals).toEqual([]);
  });

  test("moves on to another replica, and the failed try is waste", async () => {
    const quota = new NotedQuota();
    const world = worldWith({ quota }, ["a", "b"]);
    const answer = world.ask("embed", texts("x"));
    const [first, second] = world.driver("a").asks.length > 0 ? ["a", "b"] : ["b", "a"];
    world.driver(first ?? "").lastAsk.fail(fail(ErrorReason.ENGINE_FAILED, { model: "m" }));
    await soon();
    world.driver(second ?? "").lastAsk.answer({ vectors: vectors(1), tokens: 1 });
    expect((await answer).started?.attempt).toBe(2);
    const [record] = world.journal.finals;
    expect(record?.attempts).toMatchObject([
      { replicaId: first, errorReason: ErrorReason.ENGINE_FAILED },
      { replicaId: second, errorReason: ErrorReason.UNSPECIFIED },
    ]);
    expect(record?.tokens?.promptTokens).toBe(1n);
    expect(quota.ends).toEqual([{ inputTokens: 1, outputTokens: 0 }]);
  });

  test("whose only replica fails says why, and bills nothing", async () => {
    const quota = new NotedQuota();
    const world = worldWith({ quota });
    const answer = later(world.ask("embed", texts("x")));
    world.driver("a").lastAsk.fail(fail(ErrorReason.ENGINE_PROTOCOL, { model: "m", problem: "nonsense" }));
    expect(await answer).toMatchObject({ reason: ErrorReason.ENGINE_PROTOCOL });
    expect(world.journal.finals).toMatchObject([
      { endReason: EndReason.FAILED, errorReason: ErrorReason.ENGINE_PROTOCOL, tokens: { promptTokens: 0n } },
    ]);
    expect(quota.ends).toEqual([{ inputTokens: 0, outputTokens: 0 }]);
  });

  test("is not tried again for what is the caller's fault", async () => {
    const world = worldWith({}, ["a", "b"]);
    const answer = later(world.ask("embed", texts("x")));
    const busy = world.driver("a").asks.length > 0 ? "a" : "b";
    world.driver(busy).lastAsk.fail(fail(ErrorReason.ENGINE_REFUSED, { model: "m", problem: "too long" }));
    expect(await answer).toMatchObject({ reason: ErrorReason.ENGINE_REFUSED });
    expect(world.driver("a").asks.length + world.driver("b").asks.length).toBe(1);
  });

  test("that is too long for the model's context is told with the member that it is", async () => {
    const world = worldWith();
    const answer = later(world.ask("embed", texts("x")));
    world.driver("a").lastAsk.fail(fail(ErrorReason.CONTEXT_LENGTH_EXCEEDED, { param: "messages", limit: "512" }));
    expect(await answer).toMatchObject({
      reason: ErrorReason.CONTEXT_LENGTH_EXCEEDED,
      facts: { param: "input", limit: "512" },
    });
  });

  test("that its caller leaves stops the engine, and is billed what was sent", async () => {
    const world = worldWith();
    const caller = new AbortController();
    const answer = later(world.ask("embed", texts("a".repeat(40)), { signal: caller.signal }));
    caller.abort(fail(ErrorReason.CANCELLED));
    expect(world.driver("a").lastAsk.signal.aborted).toBe(true);
    expect(await answer).toMatchObject({ reason: ErrorReason.CANCELLED });
    expect(world.journal.finals).toMatchObject([{ endReason: EndReason.CANCELLED, tokens: { promptTokens: 10n } }]);
    expect(world.inFlight).toBe(0);
  });

  test("that is cancelled before the journal has it is not sent", async () => {
    const quota = new NotedQuota();
    const world = worldWith({ quota });
    world.journal.holds = true;
    const caller = new AbortController();
    const answer = later(world.ask("embed", texts("x"), { signal: caller.signal }));
    caller.abort(fail(ErrorReason.DEADLINE_EXCEEDED));
    world.journal.flush();
    await answer;
    expect(world.driver("a").asks).toEqual([]);
    expect(world.journal.finals).toMatchObject([{ endReason: EndReason.DEADLINE, attempts: [] }]);
    expect(quota.ends).toEqual(["released"]);
  });

  test("waits for a place, and gives it back", async () => {
    const world = new RouterWorld();
    world.pool({ concurrencyMax: 1 });
    world.model({ id: "m" });
    world.replica("a", { features });
    const first = world.ask("embed", texts("1"));
    const second = world.ask("embed", texts("2"));
    expect(world.queued).toBe(1);
    world.driver("a").lastAsk.answer({ vectors: vectors(1), tokens: 1 });
    await first;
    await soon();
    expect(world.driver("a").asks).toHaveLength(2);
    world.driver("a").lastAsk.answer({ vectors: vectors(1), tokens: 1 });
    await second;
    expect(world.queued).toBe(0);
  });

  test("never falls back to another model", async () => {
    const world = worldWith();
    world.model({ id: "m", fallbackModelIds: ["other"] });
    world.model({ id: "other" });
    world.replica("a", { features, up: false });
    world.replica("b", { features, models: ["other"] });
    const answer = later(world.ask("embed", texts("x")));
    world.clock.advance(2_500);
    expect(await answer).toMatchObject({ reason: ErrorReason.NO_REPLICA });
    expect(world.driver("b").asks).toEqual([]);
  });

  test("is told that the gateway stops", async () => {
    const world = worldWith();
    const answer = later(world.ask("embed", texts("x")));
    world.unaries.stopAll();
    expect(await answer).toMatchObject({ reason: ErrorReason.DRAINING });
    expect(world.driver("a").lastAsk.signal.aborted).toBe(true);
  });

  test.each([
    ["no replica embeds", [Feature.PROMPT], texts("x"), "model"],
    ["token ids are not taken", [Feature.EMBED], ids([1]), "input"],
    ["texts are not taken", [Feature.EMBED_TOKEN_IDS], texts("x"), "input"],
    ["there is one length", [Feature.EMBED], { ...texts("x"), dimensions: 8 }, "dimensions"],
  ] as const)("is refused where %s", async (_what, has, request, param) => {
    const world = worldWith({}, ["a"], [...has]);
    expect(await later(world.ask("embed", request))).toMatchObject({
      reason: ErrorReason.UNSUPPORTED,
      facts: { param, model: "m" },
    });
  });

  test.each([
    ["a template", '{"chat_template":"x"}', "chat_template"],
    ["another form of vectors", '{"embed_dtype":"float16"}', "embed_dtype"],
    ["what the contract has a field for", '{"dimensions":3}', "dimensions"],
    ["a priority", '{"priority":1}', "priority"],
  ])("may not carry %s", async (_what, extrasJson, param) => {
    const world = worldWith();
    expect(await later(world.ask("embed", { ...texts("x"), extrasJson }))).toMatchObject({
      reason: ErrorReason.INVALID_ARGUMENT,
      facts: { param, code: "unknown_parameter" },
    });
  });

  test("carries what engines know, and mixes no forms", async () => {
    const world = worldWith();
    void later(world.ask("embed", { ...texts("x"), extrasJson: '{"truncate_prompt_tokens":8}' }));
    expect(world.driver("a").lastAsk.attempt.extras).toEqual({ truncate_prompt_tokens: 8 });
    const mixed = { ...texts("x"), inputs: [...texts("x").inputs, ...ids([1]).inputs] };
    expect(await later(world.ask("embed", mixed))).toMatchObject({ facts: { param: "inputs[1]" } });
  });

  test("of a model that may not be called is not found", async () => {
    const world = worldWith();
    expect(await later(world.ask("embed", texts("x"), { principal: anyone("other") }))).toMatchObject({
      reason: ErrorReason.MODEL_NOT_FOUND,
    });
  });

  test("is refused while the journal has no room", async () => {
    const world = worldWith();
    world.journal.hasRoom = false;
    expect(await later(world.ask("embed", texts("x")))).toMatchObject({ reason: ErrorReason.LEDGER_UNAVAILABLE });
  });
});

describe("a ranking", () => {
  const request = create(RerankRequestSchema, {
    model: "m",
    query: "q".repeat(8),
    documents: ["aaaa", "bbbb", "cccc"],
  });

  test("is sorted by relevance, cut to what was asked for, and counted as such", async () => {
    const quota = new NotedQuota();
    const world = worldWith({ quota });
    const answer = world.ask("rerank", { ...request, topN: 2 });
    world.driver("a").lastAsk.answer({ scores: [0.1, 0.9, 0.9], tokens: undefined });
    const { results, usage } = await answer;
    expect(results.map(({ index, relevanceScore }) => [index, relevanceScore])).toEqual([
      [1, 0.9],
      [2, 0.9],
    ]);
    // The query is read with each document.
    expect(usage).toMatchObject({ promptTokens: 9n, promptSource: CountSource.ESTIMATED });
    expect(quota.asks).toMatchObject([{ operation: Operation.RERANK, expected: { inputTokens: 9 } }]);
    expect(world.journal.finals).toMatchObject([{ operation: "rerank", tokens: { promptTokens: 9n } }]);
  });

  test("is refused where no replica ranks", async () => {
    const world = worldWith({}, ["a"], [Feature.EMBED]);
    expect(await later(world.ask("rerank", request))).toMatchObject({
      reason: ErrorReason.UNSUPPORTED,
      facts: { param: "model" },
    });
  });
});

describe("a count of tokens", () => {
  const conversation = create(CountTokensRequestSchema, {
    model: "m",
    input: {
      case: "conversation",
      value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text", value: "hi" } }] }] },
    },
  });
  const prompt = create(CountTokensRequestSchema, { model: "m", input: { case: "prompt", value: "hi" } });

  test("asks no limit, and its record has no tokens", async () => {
    const quota = new NotedQuota();
    const world = worldWith({ quota }, ["a"], [Feature.COUNT_TOKENS]);
    const answer = world.ask("countTokens", prompt);
    world.driver("a").lastAsk.answer(7);
    expect((await answer).tokens).toBe(7n);
    expect(quota.asks).toEqual([]);
    expect(world.journal.finals).toMatchObject([
      { operation: "count_tokens", endReason: EndReason.COMPLETED, tokens: { promptTokens: 0n } },
    ]);
  });

  test("of a conversation is the engine's own, or of the text that the model's template makes of it", async () => {
    const own = worldWith({}, ["a"], [Feature.COUNT_TOKENS, Feature.COUNT_CONVERSATION]);
    void later(own.ask("countTokens", conversation));
    expect(own.driver("a").lastAsk.attempt).toMatchObject({ prompt: undefined });
    const world = worldWith({}, ["a"], [Feature.COUNT_TOKENS]);
    const source = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}";
    world.model({ id: "m", chatTemplate: { source, sha256: "x" } });
    void later(world.ask("countTokens", conversation));
    expect(world.driver("a").lastAsk.attempt).toMatchObject({ prompt: "<user>hi" });
  });

  test("is the tokenizer's where the engine has none, of a prompt with the tokens that begin one", async () => {
    const source = "{% for message in messages %}<|start|>{{ message.content }}{% endfor %}";
    const tokenizer = tokenizerSource(byteLevelTokenizer());
    const asked = async (features: readonly Feature[]) => {
      const world = worldWith({}, ["a"], features);
      world.model({ id: "m", tokenizer, chatTemplate: { source, sha256: "count" } });
      const counts = await Promise.all([world.ask("countTokens", prompt), world.ask("countTokens", conversation)]);
      await world.tokenizers[Symbol.asyncDispose]();
      expect(world.driver("a").asks).toEqual([]);
      return counts.map(({ tokens }) => tokens);
    };
    // "h" and "i" are bytes of that vocabulary, and <|start|> is one token.
    expect(await asked([Feature.PROMPT])).toEqual([3n, 3n]);
    expect(await asked([Feature.CONVERSATION])).toEqual([3n, 3n]);
  });

  test("fails with the gateway's own fault where the tokenizer is another file by now", async () => {
    const world = worldWith({}, ["a"], [Feature.PROMPT]);
    world.model({ id: "m", tokenizer: { ...tokenizerSource(byteLevelTokenizer()), sha256: "0".repeat(64) } });
    expect(await later(world.ask("countTokens", prompt))).toMatchObject({ reason: ErrorReason.TOKENIZER_FAILED });
    await world.tokenizers[Symbol.asyncDispose]();
  });

  test("by the tokenizer says nothing of the replica", async () => {
    const world = worldWith({}, ["a"], [Feature.PROMPT, Feature.EMBED]);
    world.model({ id: "m", tokenizer: tokenizerSource(byteLevelTokenizer()) });
    const embedBadly = async () => {
      const answer = later(world.ask("embed", texts("x")));
      world.driver("a").lastAsk.fail(fail(ErrorReason.ENGINE_FAILED));
      await answer;
    };
    for (let round = 0; round < 4; round++) await embedBadly();
    await world.ask("countTokens", prompt);
    expect(world.ejected).toEqual([]);
    await embedBadly();
    expect(world.ejected).toEqual(["a"]);
    await world.tokenizers[Symbol.asyncDispose]();
  });

  test("of a conversation without a template, or where nobody counts, is refused", async () => {
    const bare = worldWith({}, ["a"], [Feature.COUNT_TOKENS]);
    expect(await later(bare.ask("countTokens", conversation))).toMatchObject({
      reason: ErrorReason.CHAT_TEMPLATE_MISSING,
    });
    const none = worldWith();
    expect(await later(none.ask("countTokens", prompt))).toMatchObject({ reason: ErrorReason.UNSUPPORTED });
  });
});
