import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Dialect, Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { answer, closeClean, gone, leaves, openWorld, seen } from "../../fakes/generation-calls.ts";
import { anyone, type RouterWorld, type WorldOptions } from "../../fakes/router-world.ts";

let world: RouterWorld;

function begin(options?: WorldOptions, replicas?: readonly string[]): void {
  world = openWorld(options, replicas);
}

beforeEach(() => begin());
afterEach(() => closeClean(world));

describe("no place", () => {
  test("the queue is bounded", () => {
    begin({ queueMax: 2 }, ["a"]);
    const calls = [1, 2, 3, 4].map(() => world.call());
    expect(calls.map(({ sink }) => sink.error?.reason)).toEqual([
      undefined,
      undefined,
      undefined,
      ErrorReason.QUEUE_FULL,
    ]);
    expect(calls[3]?.sink.error).toMatchObject({ facts: { model: "m", queue_max: "2" }, retryAfterMs: 1_000 });
  });

  test("the wait is bounded", () => {
    begin({ queueTimeoutMs: 3_000 }, ["a"]);
    world.call();
    const waits = world.call();
    world.clock.advance(2_999);
    expect(waits.sink.error).toBeUndefined();
    world.clock.advance(1);
    expect(waits.sink.error).toMatchObject({ reason: ErrorReason.QUEUE_TIMEOUT, facts: { waited_ms: "3000" } });
    expect(world.records.at(-1)?.queuedMs).toBe(3_000);
  });

  test("no replica: 2 s are waited for one", () => {
    begin({}, []);
    world.replica("a", { up: false });
    const lucky = world.call();
    world.clock.advance(1_900);
    world.replica("a");
    answer(world.tryAt("a"), "x");
    expect(seen(lucky)).toContain("+x");
    world.replica("a", { up: false });
    const unlucky = world.call();
    world.clock.advance(2_000);
    expect(unlucky.sink.error).toMatchObject({
      reason: ErrorReason.NO_REPLICA,
      facts: { model: "m", why: "its replica does not answer" },
      retryAfterMs: 2_000,
    });
  });

  test("those who wait when the last replica goes are sent away after 2 s", () => {
    begin({}, ["a"]);
    const runs = world.call();
    const waits = world.call();
    world.clock.advance(10_000);
    world.replica("a", { up: false });
    world.clock.advance(1_999);
    expect(waits.sink.over).toBe(false);
    world.clock.advance(1);
    expect(waits.sink.error?.reason).toBe(ErrorReason.NO_REPLICA);
    expect(runs.sink.over).toBe(false);
  });

  test("a queue that drains into an engine that fails at once does not overflow the stack", () => {
    begin({ queueMax: 20_000 }, ["a"]);
    const first = world.call();
    const calls = Array.from({ length: 10_000 }, () => world.call());
    world.driver("a").onTry = ({ sink }) => sink.fail(gone);
    first.cancel(leaves);
    for (const call of calls) expect(call.sink.error?.reason).toBe(ErrorReason.ENGINE_UNAVAILABLE);
  });
});

describe("what is refused before an engine hears of it", () => {
  const rows: readonly [string, Parameters<RouterWorld["call"]>[0], ErrorReason, object][] = [
    ["an unknown model", { model: "nope" }, ErrorReason.MODEL_NOT_FOUND, { model: "nope" }],
    ["too many choices", { choices: 9 }, ErrorReason.INVALID_ARGUMENT, { param: "n", code: "integer_above_max_value" }],
    ["several choices of an engine that has one", { choices: 2 }, ErrorReason.UNSUPPORTED, { param: "n", model: "m" }],
    [
      "no answer, and no echo either",
      { sampling: { maxTokens: 0 } },
      ErrorReason.INVALID_ARGUMENT,
      { param: "max_tokens", code: "integer_below_min_value" },
    ],
    [
      "no answer to a conversation",
      { sampling: { maxTokens: 0 }, echo: true },
      ErrorReason.INVALID_ARGUMENT,
      { param: "max_tokens" },
    ],
    [
      "log probabilities of a prompt",
      { extrasJson: '{"prompt_logprobs":0}' },
      ErrorReason.INVALID_ARGUMENT,
      { param: "prompt_logprobs", code: "unsupported_parameter" },
    ],
    ["a suffix", { suffix: "x" }, ErrorReason.UNSUPPORTED, { param: "suffix" }],
    ["tools", { tools: [{ name: "f" }] }, ErrorReason.UNSUPPORTED, { param: "tools" }],
    ["a template", { extrasJson: '{"chat_template":"x"}' }, ErrorReason.INVALID_ARGUMENT, { param: "chat_template" }],
    ["token ids", { input: { case: "tokenIds", value: { ids: [1] } } }, ErrorReason.UNSUPPORTED, { param: "prompt" }],
  ];
  test.each(rows)("%s", (_name, request, reason, facts) => {
    const call = world.call(request);
    expect(call.sink.error).toMatchObject({ reason, facts });
    expect(world.busyReplicas()).toEqual([]);
  });

  test("a prompt far over the context", () => {
    begin({}, []);
    world.replica("a", { contextLength: 100 });
    const call = world.call({ input: { case: "prompt", value: "x".repeat(1_616) } });
    expect(call.sink.error).toMatchObject({
      reason: ErrorReason.CONTEXT_LENGTH_EXCEEDED,
      facts: { limit: "100", param: "prompt" },
    });
  });

  test("unknown, forbidden and disabled models are told apart by nobody", () => {
    world.model({ id: "off", disabled: true });
    world.alias("other", "m");
    const ask = (model: string, key = anyone("x")) => world.call({ model }, key).sink.error;
    for (const [model, key] of [
      ["m", anyone("x")],
      ["other", anyone("x")],
      ["off", anyone()],
      ["nope", anyone()],
    ] as const) {
      expect(ask(model, key)).toMatchObject({ reason: ErrorReason.MODEL_NOT_FOUND, facts: { model } });
    }
    const call = world.call({ model: "other" }, anyone("other"));
    expect(call.sink.error).toBeUndefined();
    call.cancel(leaves);
  });

  test("everything, while the catalogue is not known", () => {
    begin({ synced: false });
    expect(world.call().sink.error?.reason).toBe(ErrorReason.SERVICE_UNAVAILABLE);
  });
});

describe("engines that take text", () => {
  const text = [Feature.PROMPT, Feature.STREAM];

  test("get the conversation rendered, and always a maximum", () => {
    begin({}, []);
    world.model({
      id: "m",
      chatTemplate: {
        source: "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]",
        sha256: "1",
      },
    });
    world.replica("a", { features: text, dialect: Dialect.TRITON, contextLength: 1_000 });
    const call = world.call();
    expect(world.tryAt("a").attempt).toMatchObject({ prompt: "[user]Say hello.[assistant]", maxTokens: 994 });
    call.cancel(leaves);
  });

  test("without a template nothing is sent", () => {
    begin({}, []);
    world.replica("a", { features: text });
    expect(world.call().sink.error).toMatchObject({ reason: ErrorReason.CHAT_TEMPLATE_MISSING, facts: { model: "m" } });
  });

  test("a template that does not take the messages gives the place back", () => {
    begin({}, []);
    world.model({ id: "m", chatTemplate: { source: "{{ raise_exception('roles must alternate') }}", sha256: "2" } });
    world.replica("a", { features: text });
    for (let round = 0; round < 3; round++) {
      expect(world.call().sink.error).toMatchObject({
        reason: ErrorReason.CHAT_TEMPLATE_FAILED,
        facts: { problem: "roles must alternate" },
      });
    }
  });
});
