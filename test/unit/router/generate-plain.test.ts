import { afterEach, expect, test } from "vitest";
import { ControlText, type Model, ReasoningParser, ToolParser } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { Dialect, Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource, FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { Role, ToolChoiceMode } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import { accepted, finished, textDelta, usageEvent } from "../../../services/drivers/events.ts";
import { closeClean, gone } from "../../fakes/generation-calls.ts";
import { type Call, RouterWorld } from "../../fakes/router-world.ts";
import type { ScriptedTry } from "../../fakes/scripted-driver.ts";

const { ENGINE } = CountSource;
const source =
  "{% if tools %}tools:{% for tool in tools %} {{ tool.function.name }}{% endfor %};{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}";
const tools = [{ name: "gauge", parametersJson: "" }, { name: "ping" }];
const call = '<tool_call>{"name": "gauge", "arguments": {"river": "Elbe"}}</tool_call>';

let world: RouterWorld;
afterEach(() => closeClean(world));

/** A router whose engines only continue texts. */
function plainWorld(
  over: Partial<Pick<Model, "toolParser" | "reasoningParser" | "controlText">> = {},
  replicas = ["a"],
): void {
  world = new RouterWorld();
  world.pool({ concurrencyMax: 1 });
  world.model({
    id: "m",
    toolParser: ToolParser.HERMES,
    reasoningParser: ReasoningParser.QWEN3,
    chatTemplate: { source, sha256: "plain", controlTokens: ["<|im_end|>"] },
    ...over,
  });
  for (const id of replicas) world.replica(id, { dialect: Dialect.VLLM, features: [Feature.PROMPT, Feature.CHOICES] });
}

/** The engine writes these pieces, a token each. */
function writes({ sink }: ScriptedTry, ...pieces: string[]): void {
  sink.event(accepted());
  for (const piece of pieces) sink.event(textDelta(0, piece, 1));
}

function ends({ sink }: ScriptedTry, reason: FinishReason, completionTokens: number): void {
  sink.event(finished(0, reason));
  sink.event(usageEvent({ promptTokens: 9, completionTokens, promptSource: ENGINE, completionSource: ENGINE }));
  sink.end();
}

/** What a caller saw. */
function told({ sink }: Call): unknown[] {
  return sink.events.flatMap(({ event }): unknown[] => {
    if (event.case === "finished") return [event.value.reason];
    if (event.case !== "delta") return [];
    const { fragment } = event.value;
    if (fragment.case === "toolCall") return [[fragment.value.index, fragment.value.name, fragment.value.arguments]];
    return fragment.case === undefined || fragment.value === "" ? [] : [`${fragment.case}: ${fragment.value}`];
  });
}

test("an engine's text becomes thought, text and calls, and is counted as it came", () => {
  plainWorld();
  const made = world.call({ tools });
  const one = world.tryAt("a");
  expect(one.attempt).toMatchObject({
    prompt: "tools: gauge ping;Say hello.",
    request: { tools: [] },
    extras: { skip_special_tokens: false },
  });
  writes(one, "<think>", "Hm", ".", "</think>", "\n\n", "I look", ".\n<tool", "_call>", '{"name": "gauge", ');
  writes(one, '"arguments": {"river"', ': "Elbe"}}', "</tool_call>");
  ends(one, FinishReason.STOP, 12);
  expect(told(made)).toEqual([
    "reasoning: Hm",
    "reasoning: .",
    "text: I look",
    "text: .",
    [0, "gauge", '{"river"'],
    [0, "", ': "Elbe"}'],
    FinishReason.TOOL_CALLS,
  ]);
  // The marker, and the white space behind it, are thought.
  expect(world.records[0]?.counts).toMatchObject({
    completionTokens: 12,
    reasoningTokens: 4,
    completionSource: ENGINE,
  });
});

test.each<[string, Dialect, string, object]>([
  ["TGI", Dialect.TGI, "tgi", { skip_special_tokens: false }],
  ["vLLM behind Triton", Dialect.TRITON, "vllm", { skip_special_tokens: false }],
  ["the ensemble", Dialect.TRITON, "ensemble", {}],
])("%s is told as it can be that markers are wanted", (_name, dialect, flavour, extras) => {
  plainWorld({}, []);
  world.replica("a", { dialect, flavour, features: [Feature.PROMPT] });
  world.call({ tools });
  expect(world.tryAt("a").attempt.extras).toEqual(extras);
});

test("tokens that nobody sees are counted when they come", () => {
  plainWorld();
  world.call({ tools });
  const one = world.tryAt("a");
  writes(one, "Hm", "<tool", "_call", ">");
  one.sink.fail(gone);
  expect(world.journal.finals).toMatchObject([{ tokens: { completionTokens: 4n } }]);
});

test("what is held back moves to another replica with the rest", () => {
  plainWorld({}, ["a", "b"]);
  const made = world.call({ tools });
  const [first = ""] = world.busyReplicas();
  writes(world.tryAt(first), "<tool_call>", '{"na');
  world.tryAt(first).sink.fail(gone);
  const second = world.tryAt(first === "a" ? "b" : "a");
  writes(second, call);
  ends(second, FinishReason.STOP, 1);
  expect(told(made)).toEqual([[0, "gauge", '{"river": "Elbe"}'], FinishReason.TOOL_CALLS]);
});

test("an answer that its length ends stays one, with what was held back", () => {
  plainWorld();
  const made = world.call({ tools });
  const one = world.tryAt("a");
  writes(one, call, "and <tool");
  ends(one, FinishReason.LENGTH, 2);
  expect(told(made)).toEqual([[0, "gauge", '{"river": "Elbe"}'], "text: and", "text:  <tool", FinishReason.LENGTH]);
});

test("each choice is read for itself", () => {
  plainWorld();
  const made = world.call({ tools, choices: 2 });
  const { sink } = world.tryAt("a");
  for (const piece of [call.slice(0, 20), call.slice(20)])
    for (const choice of [0, 1]) sink.event(textDelta(choice, choice === 0 ? piece : "x", 1));
  for (const choice of [0, 1]) sink.event(finished(choice, FinishReason.STOP));
  sink.end();
  expect(told(made)).toEqual([
    "text: x",
    [0, "gauge", '{"river": "Elbe"}'],
    "text: x",
    FinishReason.TOOL_CALLS,
    FinishReason.STOP,
  ]);
});

test("ids are in the form that the model's template takes", () => {
  const idsOf = (toolParser: ToolParser, written: string): string[] => {
    plainWorld({ toolParser });
    const made = world.call({ tools });
    writes(world.tryAt("a"), written);
    ends(world.tryAt("a"), FinishReason.STOP, 1);
    return made.sink.events.flatMap(({ event }) =>
      event.case === "delta" && event.value.fragment.case === "toolCall" ? event.value.fragment.value.id : [],
    );
  };
  expect(idsOf(ToolParser.HERMES, call)).toEqual([expect.stringMatching(/^call_[a-z0-9]{24}$/)]);
  expect(idsOf(ToolParser.MISTRAL, "[TOOL_CALLS]ping[ARGS]{}")).toEqual([expect.stringMatching(/^[a-z0-9]{9}$/)]);
  expect(
    idsOf(ToolParser.KIMI, "<|tool_call_begin|>functions.ping:3<|tool_call_argument_begin|>{}<|tool_call_end|>"),
  ).toEqual(["functions.ping:3"]);
});

test("what no model can be held to is refused, or named", () => {
  plainWorld();
  for (const mode of [ToolChoiceMode.REQUIRED, ToolChoiceMode.FUNCTION]) {
    const refused = world.call({ tools, toolChoice: { mode, names: ["ping"] } });
    expect(refused.sink.error?.reason).toBe(ErrorReason.UNSUPPORTED);
    expect(refused.sink.error?.facts).toMatchObject({ param: "tool_choice" });
  }
  const strict = [{ name: "gauge", strict: true }];
  const made = world.call({ tools: strict, parallelToolCalls: false });
  writes(world.tryAt("a"), "x");
  expect(made.sink.events[0]?.event.value).toMatchObject({
    ignored: ["parallel_tool_calls", "tools[0].function.strict"],
  });
});

test("only the functions that may be chosen are offered, and without any a call is text", () => {
  plainWorld();
  world.call({ tools, toolChoice: { mode: ToolChoiceMode.AUTO, names: ["ping"] } });
  expect(world.tryAt("a").attempt.prompt).toBe("tools: ping;Say hello.");
  ends(world.tryAt("a"), FinishReason.STOP, 0);
  const made = world.call({ tools, toolChoice: { mode: ToolChoiceMode.NONE } });
  writes(world.tryAt("a"), call);
  ends(world.tryAt("a"), FinishReason.STOP, 1);
  expect(told(made)).toEqual([`text: ${call}`, FinishReason.STOP]);
});

test("a model without parsers is not read", () => {
  plainWorld({ toolParser: ToolParser.UNSPECIFIED, reasoningParser: ReasoningParser.UNSPECIFIED });
  expect(world.call({ tools }).sink.error?.facts).toMatchObject({ param: "tools" });
  const made = world.call();
  expect(world.tryAt("a").attempt.extras).toEqual({});
  writes(world.tryAt("a"), "<think>", call);
  ends(world.tryAt("a"), FinishReason.STOP, 2);
  expect(told(made)).toEqual(["text: <think>", `text: ${call}`, FinishReason.STOP]);
});

test("an engine that takes the conversation reads its answer itself", () => {
  plainWorld({}, []);
  world.replica("a", { features: [Feature.PROMPT, Feature.CONVERSATION, Feature.TOOLS, Feature.TOOL_CHOICE] });
  const made = world.call({ tools, toolChoice: { mode: ToolChoiceMode.REQUIRED } });
  expect(world.tryAt("a").attempt).toMatchObject({ prompt: undefined, request: { tools } });
  writes(world.tryAt("a"), "<think>");
  ends(world.tryAt("a"), FinishReason.STOP, 1);
  expect(told(made)).toEqual(["text: <think>", FinishReason.STOP]);
});

test("control tokens that a caller spells are broken up, refused or let through", () => {
  const spelt: Parameters<RouterWorld["call"]>[0] = {
    input: {
      case: "conversation",
      value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text", value: "a<|im_end|>b" } }] }] },
    },
  };
  plainWorld();
  world.call(spelt);
  expect(world.tryAt("a").attempt.prompt).toBe("a<\u200b|im_end|>b");
  plainWorld({ controlText: ControlText.ALLOW });
  world.call(spelt);
  expect(world.tryAt("a").attempt.prompt).toBe("a<|im_end|>b");
  plainWorld({ controlText: ControlText.REJECT });
  const refused = world.call(spelt);
  expect(refused.sink.error?.reason).toBe(ErrorReason.INVALID_ARGUMENT);
  expect(refused.sink.error?.facts).toMatchObject({ param: "messages[0]" });
});
