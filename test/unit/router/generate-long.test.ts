import { afterEach, expect, test } from "vitest";
import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { Role } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import { answer, closeClean, leaves } from "../../fakes/generation-calls.ts";
import { RouterWorld } from "../../fakes/router-world.ts";

// A conversation that is so long that another thread makes the prompt of it: the request has its place meanwhile.

const messages = Array.from({ length: 300 }, (_, index) => ({
  role: index % 2 ? Role.ASSISTANT : Role.USER,
  parts: [{ part: { case: "text" as const, value: String(index) } }],
}));
const long = { input: { case: "conversation" as const, value: { messages } } };
const whole = messages.map((_, index) => `<${index}>`).join("");
/** A thread has to start, on a busy machine. */
const patience = { timeout: 10_000 };

let world: RouterWorld;
afterEach(() => closeClean(world));

function start(source = "{% for m in messages %}<{{ m.content }}>{% endfor %}"): void {
  world = new RouterWorld();
  world.pool({ concurrencyMax: 1 });
  world.model({ id: "m", chatTemplate: { source, sha256: source } });
  world.replica("a", { features: [Feature.PROMPT, Feature.STREAM] });
}

test("an engine of texts gets it whole, and the next request its place", async () => {
  start();
  const call = world.call(long);
  expect(world.busyReplicas()).toEqual([]);
  await expect.poll(() => world.busyReplicas(), patience).toEqual(["a"]);
  expect(world.tryAt("a").attempt.prompt).toBe(whole);
  answer(world.tryAt("a"), "x");
  expect(call.sink.ended).toBe(true);
});

test("a caller that leaves meanwhile leaves no trace at an engine, and its place to the next", async () => {
  start();
  world.call(long).cancel(leaves);
  const next = world.call(long);
  await expect.poll(() => world.busyReplicas(), patience).toEqual(["a"]);
  answer(world.tryAt("a"), "x");
  expect(next.sink.ended).toBe(true);
  expect(world.driver("a").tries).toHaveLength(1);
});

test("a template that does not take it is told, and no engine hears of it", async () => {
  start("{{ raise_exception('no') }}");
  const call = world.call(long);
  await expect.poll(() => call.sink.error, patience).toMatchObject({ reason: ErrorReason.CHAT_TEMPLATE_FAILED });
  expect(world.busyReplicas()).toEqual([]);
});
