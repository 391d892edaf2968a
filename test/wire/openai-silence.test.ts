import { expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { Role, ToolChoiceMode } from "../../gen/ts/weir/router/v1/message_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { chatChunk, type FakeExchange, startFakeOpenAi } from "../fakes/fake-openai.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import { attemptAt, start, targetAt } from "./attempts.ts";

const conversation = {
  input: {
    case: "conversation" as const,
    value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "hi" } }] }] },
  },
};
const tools = [{ name: "write_file", parametersJson: '{"type":"object"}' }];
const call = (fragment: Record<string, unknown>) => chatChunk({ tool_calls: [{ index: 0, ...fragment }] });

test.each<[string, Parameters<typeof attemptAt>[1], number, string | undefined]>([
  ["functions on offer, for as long as an argument takes", { tools }, 599_000, undefined],
  ["functions on offer, for longer", { tools }, 601_000, "ENGINE_TIMEOUT"],
  ["no functions", {}, 21_000, "ENGINE_TIMEOUT"],
  ["functions that may not be called", { tools, toolChoice: { mode: ToolChoiceMode.NONE } }, 21_000, "ENGINE_TIMEOUT"],
])("an engine that begins a call and is silent, with %s", async (_, request, silentMs, reason) => {
  const clock = new SimulatedClock();
  let exchange: FakeExchange | undefined;
  await using engine = await startFakeOpenAi({
    generate(asked) {
      exchange = asked;
      asked.startStream();
      asked.event(call({ id: "1", function: { name: "write_file", arguments: "{" } }));
    },
  });
  const target = targetAt(engine.url, { clock, toolIdleMs: 600_000, totalMs: 3_600_000 });
  await using driver = openDriver(Dialect.OPENAI, target);
  const [model] = (await driver.probe(AbortSignal.timeout(5_000))).models;
  if (!model) throw new Error("the fake has no model");
  const { outcome } = start(driver, attemptAt(model, { ...conversation, ...request }));
  await outcome.until(() => outcome.deltas.length > 0);
  clock.advance(silentMs);
  exchange?.event(call({ function: { arguments: '"text":"x"}' } }));
  exchange?.event(chatChunk({}, "tool_calls"));
  exchange?.done();
  await outcome.done;
  expect(outcome.reason).toBe(reason);
});
