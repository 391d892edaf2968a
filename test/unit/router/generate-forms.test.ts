import { afterEach, describe, expect, test, vi } from "vitest";
import { ReasoningParser, ToolParser } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { Dialect, Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource, FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { accepted, finished, textDelta, toolCallDelta, usageEvent } from "../../../services/drivers/events.ts";
import { answer, closeClean, leaves, openWorld, seen } from "../../fakes/generation-calls.ts";
import { type Call, commonFeatures, RouterWorld } from "../../fakes/router-world.ts";

const { ENGINE } = CountSource;
const { STOP, LENGTH } = FinishReason;
const object = { responseFormat: { form: { case: "jsonObject", value: {} } } } as const;
const choice = (...texts: string[]) => ({ extrasJson: JSON.stringify({ structured_outputs: { choice: texts } }) });
const usage = (completionTokens: number) =>
  usageEvent({ promptTokens: 9, completionTokens, promptSource: ENGINE, completionSource: ENGINE });

let world: RouterWorld;
afterEach(async () => {
  await closeClean(world);
  await world.schemas[Symbol.asyncDispose]();
});

const problemOf = ({ sink }: Call) => {
  const failed = sink.events.map(({ event }) => event).find(({ case: name }) => name === "failed");
  return failed?.case === "failed" ? failed.value.error?.metadata : undefined;
};
const billed = () => world.journal.finals.map(({ tokens }) => Number(tokens?.completionTokens));

describe("some JSON object, of an engine without a grammar", () => {
  test("the engine hears nothing of the form, and the object is passed on as it comes", () => {
    world = openWorld();
    const call = world.call(object);
    expect(world.tryAt("a").attempt.request.responseFormat).toBeUndefined();
    answer(world.tryAt("a"), "```json\n", '{"a"', ": 1}", "\n```");
    expect(seen(call)).toEqual(["started 1", '+{"a"', "+: 1}", "finished 0", "usage 9+4", "end"]);
  });

  test("what can't become one ends at once, stops the engine, counts, and speaks against no replica", () => {
    world = openWorld();
    const call = world.call(object);
    const { sink, cancels } = world.tryAt("a");
    sink.event(accepted());
    sink.event(textDelta(0, "Sure", 1));
    expect(seen(call)).toEqual(["started 1", "failed ANSWER_MISMATCH", "end"]);
    expect(problemOf(call)).toMatchObject({ model: "m", form: "json_object", problem: "it is no JSON object" });
    expect(cancels).toHaveLength(1);
    expect(world.driver("b").tries).toEqual([]);
    expect(world.ejected).toEqual([]);
    expect(billed()).toEqual([1]);
  });

  test("nothing of a piece that breaks it is passed on", () => {
    world = openWorld();
    const call = world.call(object);
    answer(world.tryAt("a"), '{"a": ', "1,, ", "2}");
    expect(seen(call)).toEqual(["started 1", '+{"a": ', "failed ANSWER_MISMATCH", "end"]);
  });

  test("an answer that ends inside it is no object; one that was cut keeps its reason", () => {
    world = openWorld();
    for (const [reason, told] of [
      [STOP, "failed ANSWER_MISMATCH"],
      [LENGTH, "finished 0"],
    ] as const) {
      const call = world.call(object);
      const { sink } = world.tryAt("a");
      sink.event(accepted());
      sink.event(textDelta(0, '{"a": ', 1));
      sink.event(finished(0, reason));
      sink.event(usage(1));
      sink.end();
      expect(seen(call).slice(0, 3)).toEqual(["started 1", '+{"a": ', told]);
    }
  });

  test("an engine that goes on behind the object is stopped, and the answer is whole", () => {
    world = openWorld();
    const call = world.call(object);
    const { sink, cancels } = world.tryAt("a");
    sink.event(accepted());
    for (const piece of ['{"a": 1}', "\n", "I hope"]) sink.event(textDelta(0, piece, 1));
    expect(cancels).toEqual([]);
    sink.turn();
    expect(cancels).toHaveLength(1);
    expect(seen(call).slice(0, 3)).toEqual(["started 1", '+{"a": 1}', "finished 0"]);
    expect(call.sink.ended).toBe(true);
    expect(billed()).toEqual([3]);
    expect(world.records[0]?.reason).toBeUndefined();
  });

  test("one choice may be complete while another is not: the engine goes on", () => {
    world = openWorld({}, []);
    world.replica("a", { features: [...commonFeatures, Feature.CHOICES] });
    const call = world.call({ ...object, choices: 2 });
    const { sink, cancels } = world.tryAt("a");
    sink.event(accepted());
    sink.event(textDelta(0, "{} and", 2));
    sink.turn();
    sink.event(textDelta(0, " more", 1));
    sink.event(textDelta(1, '{"b":', 1));
    sink.event(finished(0, STOP));
    sink.event(textDelta(1, "2}", 1));
    sink.event(finished(1, STOP));
    sink.event(usage(5));
    sink.end();
    expect(cancels).toEqual([]);
    expect(seen(call)).toEqual(["started 1", "+{}", "finished 0", '+{"b":', "+2}", "finished 1", "usage 9+5", "end"]);
  });

  test("with functions an answer is judged at its end, and not where it calls one", () => {
    world = openWorld({}, []);
    world.replica("a", { features: [...commonFeatures, Feature.TOOLS] });
    const say = (calls: boolean, reason: FinishReason = calls ? FinishReason.TOOL_CALLS : STOP) => {
      const call = world.call({ ...object, tools: [{ name: "f" }] });
      const { sink } = world.tryAt("a");
      sink.event(accepted());
      sink.event(textDelta(0, "I look.", 2));
      if (calls) sink.event(toolCallDelta(0, { index: 0, id: "1", name: "f", arguments: "{}" }, 3));
      sink.event(finished(0, reason));
      sink.event(usage(5));
      sink.end();
      return seen(call);
    };
    expect(say(true)).toEqual(["started 1", "+I look.", "+?", "finished 0", "usage 9+5", "end"]);
    // Some engines say of calls that the model was done.
    expect(say(true, STOP)).toEqual(["started 1", "+I look.", "+?", "finished 0", "usage 9+5", "end"]);
    expect(say(false)).toEqual(["started 1", "+I look.", "failed ANSWER_MISMATCH", "end"]);
  });

  test("thought is no part of it", () => {
    world = new RouterWorld();
    world.pool({ concurrencyMax: 1 });
    const chatTemplate = { source: "{{ messages[0].content }}", sha256: "plain", controlTokens: [] };
    world.model({ id: "m", toolParser: ToolParser.HERMES, reasoningParser: ReasoningParser.QWEN3, chatTemplate });
    world.replica("a", { dialect: Dialect.TRITON, features: [Feature.PROMPT] });
    const call = world.call(object);
    answer(world.tryAt("a"), "<think>", "Hm.", "</think>\n\n", "{}");
    expect(seen(call)).toEqual(["started 1", "+?", "+{}", "finished 0", "usage 9+4", "end"]);
  });

  test("an engine that enforces it is preferred, and nothing is checked", () => {
    world = openWorld();
    world.replica("c", { features: [...commonFeatures, Feature.JSON_OBJECT], running: 50 });
    const call = world.call(object);
    expect(world.tryAt("c").attempt.request.responseFormat).toMatchObject(object.responseFormat);
    answer(world.tryAt("c"), "whatever it says");
    expect(seen(call)).toContain("+whatever it says");
  });

  test("who leaves meanwhile hears nothing", () => {
    world = openWorld();
    const call = world.call(object);
    const { sink } = world.tryAt("a");
    sink.event(accepted());
    sink.event(textDelta(0, "{", 1));
    world.generations.stopAll();
    sink.event(textDelta(0, "x", 1));
    expect(seen(call)).toEqual(["started 1", "+{", "failed DRAINING", "end"]);
  });
});

describe("one of some texts", () => {
  test("is told whole, and the engine hears nothing of it", () => {
    world = openWorld();
    const call = world.call(choice("yes", "no"));
    expect(world.tryAt("a").attempt.extras).toEqual({});
    answer(world.tryAt("a"), " y", "es", "\n");
    expect(seen(call)).toEqual(["started 1", "+yes", "finished 0", "usage 9+3", "end"]);
  });

  test("any other ends at once", () => {
    world = openWorld();
    const call = world.call(choice("yes", "no"));
    answer(world.tryAt("a"), "May", "be");
    expect(seen(call)).toEqual(["started 1", "failed ANSWER_MISMATCH", "end"]);
    expect(problemOf(call)).toMatchObject({ form: "choice" });
    expect(world.records[0]?.reason).toBe(ErrorReason.ANSWER_MISMATCH);
  });

  test("an engine that has JSON of a schema only hears nothing of it", () => {
    world = openWorld({}, []);
    world.replica("a", { features: [...commonFeatures, Feature.JSON_SCHEMA, Feature.GRAMMAR] });
    const call = world.call(choice("yes", "no"));
    expect(world.tryAt("a").attempt.extras).toEqual({});
    answer(world.tryAt("a"), "maybe");
    expect(seen(call)).toEqual(["started 1", "failed ANSWER_MISMATCH", "end"]);
  });

  test("an engine that enforces it is preferred", () => {
    world = openWorld();
    world.replica("c", { features: [...commonFeatures, Feature.PATTERN], running: 50 });
    world.call(choice("yes", "no"));
    answer(world.tryAt("c"), "yes");
    expect(world.driver("a").tries).toEqual([]);
  });

  test("an engine with a grammar gets it as it is", () => {
    world = openWorld({}, []);
    world.replica("a", { features: [...commonFeatures, Feature.PATTERN] });
    const call = world.call(choice("yes", "no"));
    expect(world.tryAt("a").attempt.extras).toEqual({ structured_outputs: { choice: ["yes", "no"] } });
    answer(world.tryAt("a"), "yes");
    expect(seen(call)).toContain("+yes");
  });
});

describe("a grammar, which nobody can check afterwards", () => {
  const grammar = { extrasJson: JSON.stringify({ structured_outputs: { grammar: 'root ::= "yes"' } }) };

  test("is refused where no engine has it", () => {
    world = openWorld({}, []);
    world.replica("a", { features: [...commonFeatures, Feature.PATTERN, Feature.JSON_SCHEMA] });
    const call = world.call(grammar);
    expect(seen(call)).toEqual(["fail UNSUPPORTED"]);
    expect(call.sink.error?.facts).toMatchObject({ param: "structured_outputs", feature: "grammars" });
  });

  test("goes to the engine that has it", () => {
    world = openWorld();
    world.replica("c", { features: [...commonFeatures, Feature.GRAMMAR], running: 50 });
    world.call(grammar);
    expect(world.tryAt("c").attempt.extras).toEqual(JSON.parse(grammar.extrasJson));
    answer(world.tryAt("c"), "yes");
  });
});

describe("JSON of a schema, and a pattern", () => {
  const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
  const ofSchema = (schema: object, strict?: boolean) => ({
    responseFormat: {
      form: {
        case: "jsonSchema" as const,
        value: { name: "city", schemaJson: JSON.stringify(schema), ...(strict === undefined ? {} : { strict }) },
      },
    },
  });
  const regex = (pattern: string) => ({ extrasJson: JSON.stringify({ structured_outputs: { regex: pattern } }) });
  /** A thread has to start, on a busy machine. */
  const patience = { timeout: 10_000 };
  const asked = () => vi.waitFor(() => world.tryAt("a"), patience);
  const ended = ({ sink }: Call) =>
    vi.waitFor(() => expect(sink.ended || sink.error !== undefined).toBe(true), patience);

  test("an answer that fits is told, its end when that is clear", async () => {
    world = openWorld();
    const call = world.call(ofSchema(city));
    answer(await asked(), '{"city": ', '"Paris"}');
    expect(world.tryAt("a").attempt.request.responseFormat).toBeUndefined();
    expect(seen(call)).toEqual(["started 1", '+{"city": ', '+"Paris"}']);
    await ended(call);
    expect(seen(call).slice(3)).toEqual(["finished 0", "usage 9+2", "end"]);
  });

  test("an engine that goes on behind the value is stopped, and the answer is judged", async () => {
    world = openWorld();
    for (const [json, last] of [
      ['{"city": "Paris"}', "end"],
      ['{"town": "Paris"}', "failed ANSWER_MISMATCH"],
    ] as const) {
      const call = world.call(ofSchema(city));
      const before = world.driver("a").tries.length;
      await expect.poll(() => world.driver("a").tries.length).toBeGreaterThanOrEqual(Math.max(1, before));
      const { sink, cancels } = world.tryAt("a");
      sink.event(accepted());
      sink.event(textDelta(0, `${json} is what`, 4));
      sink.turn();
      expect(cancels).toHaveLength(1);
      await ended(call);
      expect(seen(call).slice(0, 2)).toEqual(["started 1", `+${json}`]);
      expect(seen(call)).toContain(last);
    }
    expect(billed()).toEqual([4, 4]);
  });

  test.each([undefined, true])("one that does not fit fails, with strict %s", async (strict) => {
    world = openWorld();
    const call = world.call(ofSchema(city, strict));
    answer(await asked(), '{"town": "Paris"}');
    await ended(call);
    expect(seen(call)).toEqual(["started 1", '+{"town": "Paris"}', "failed ANSWER_MISMATCH", "end"]);
    expect(problemOf(call)).toMatchObject({
      form: "json_schema",
      problem: "it does not fit the schema at #/required",
    });
    expect(billed()).toEqual([1]);
  });

  test("a schema that is not strict is a wish: any JSON will do", () => {
    world = openWorld();
    const call = world.call(ofSchema(city, false));
    answer(world.tryAt("a"), '["Paris"]');
    expect(seen(call)).toEqual(["started 1", '+["Paris"]', "finished 0", "usage 9+1", "end"]);
    const other = world.call(ofSchema({ type: "nothing of the kind" }, false));
    answer(world.tryAt("a"), "Paris");
    expect(seen(other)).toEqual(["started 1", "failed ANSWER_MISMATCH", "end"]);
  });

  test("a schema that can't be used is the caller's mistake, and no engine hears of it", async () => {
    world = openWorld();
    for (const again of [0, 1]) {
      const call = world.call(ofSchema({ properties: { a: { $ref: "http://127.0.0.1:1/x" } } }));
      await ended(call);
      expect(seen(call), String(again)).toEqual(["fail INVALID_ARGUMENT"]);
      expect(call.sink.error?.facts).toMatchObject({
        param: "response_format.json_schema.schema.properties.a.$ref",
        code: "invalid_json_schema",
      });
    }
    expect(world.busyReplicas()).toEqual([]);
    expect(billed()).toEqual([0, 0]);
  });

  test("a text that is cut needs not fit, and waits for nobody", async () => {
    world = openWorld();
    const call = world.call(ofSchema(city));
    const { sink } = await asked();
    sink.event(accepted());
    sink.event(textDelta(0, '{"ci', 1));
    sink.event(finished(0, LENGTH));
    sink.event(usage(1));
    sink.end();
    expect(seen(call)).toEqual(["started 1", '+{"ci', "finished 0", "usage 9+1", "end"]);
  });

  test("who leaves while it is judged hears nothing, and it is over", async () => {
    world = openWorld();
    const call = world.call(ofSchema(city));
    answer(await asked(), '{"town": 1}');
    call.cancel(leaves);
    await world.schemas.check("other", "{}", "json", "1");
    expect(seen(call)).toEqual(["started 1", '+{"town": 1}']);
    expect(world.records).toMatchObject([{ reason: ErrorReason.CANCELLED }]);
  });

  test("a pattern holds for the whole text", async () => {
    world = openWorld();
    const judged = async (text: string) => {
      const call = world.call(regex("\\d{4}|never"));
      const tries = world.driver("a").tries.length;
      await expect.poll(() => world.driver("a").tries.length).toBeGreaterThanOrEqual(Math.max(1, tries));
      answer(world.tryAt("a"), text);
      await ended(call);
      return seen(call).at(-2);
    };
    expect(await judged("2026")).toBe("usage 9+1");
    expect(await judged("in 2026")).toBe("failed ANSWER_MISMATCH");
    const call = world.call(regex("a)|(b"));
    await ended(call);
    expect(call.sink.error?.facts).toMatchObject({ param: "structured_outputs" });
  });
});
