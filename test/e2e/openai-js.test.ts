import { afterAll, beforeAll, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { accepted, textDelta } from "../../services/drivers/events.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { type EdgeServer, keys, models, startEdge } from "../fakes/edge-server.ts";
import { obliging } from "../fakes/scripted-model.ts";
import { clientOf, scenarios, type Target } from "./openai-scenarios.ts";

let edge: EdgeServer;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge[Symbol.asyncDispose]());

const targetOf = (model: string): Target => ({ url: edge.url, apiKey: keys.good, model });

test.each(models.flatMap((model) => Object.keys(scenarios).map((name) => ({ model, name }))))(
  "the official client for JavaScript, model $model: $name",
  async ({ model, name }) => {
    await expect(scenarios[name]?.(targetOf(model))).resolves.toBeUndefined();
  },
);

test("a failure in the middle of a stream is the client's error", async () => {
  edge.script = ({ sink }) => {
    sink.event(accepted());
    sink.event(textDelta(0, "par", 1));
    sink.turn();
    sink.fail(fail(ErrorReason.ENGINE_TRUNCATED, { model: "weir-sim" }));
  };
  const runner = clientOf(targetOf("weir-sim")).chat.completions.stream({
    model: "weir-sim",
    messages: [{ role: "user", content: "hi" }],
  });
  await expect(runner.finalChatCompletion()).rejects.toMatchObject({ code: "upstream_truncated" });
  edge.script = obliging;
});

test("a failure that says when to try again is tried again then, and one that says never is not", async () => {
  const client = clientOf(targetOf("weir-sim")).withOptions({ maxRetries: 2 });
  const ask = () => client.chat.completions.create({ model: "weir-sim", messages: [{ role: "user", content: "hi" }] });
  let tries = 0;
  edge.script = (call) => {
    if (++tries < 3) call.sink.fail(fail(ErrorReason.QUEUE_FULL, { model: "weir-sim" }, { retryAfterMs: 20 }));
    else obliging(call);
  };
  expect((await ask()).choices[0]?.finish_reason).toBe("stop");
  expect(tries).toBe(3);
  edge.script = ({ sink }) => {
    tries++;
    sink.fail(fail(ErrorReason.BUDGET_EXHAUSTED, {}));
  };
  await expect(ask()).rejects.toMatchObject({ status: 429, code: "insufficient_quota" });
  expect(tries).toBe(4);
  edge.script = obliging;
});
