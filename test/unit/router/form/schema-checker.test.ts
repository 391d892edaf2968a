import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createSchemaChecker, type SchemaChecker } from "../../../../services/router/form/schema-checker.ts";
import { systemClock } from "../../../../services/runtime/clock.ts";
import { longestTurn } from "../../../fakes/longest-turn.ts";

let checker: SchemaChecker;
beforeEach(() => {
  checker = createSchemaChecker(systemClock);
});
afterEach(() => checker[Symbol.asyncDispose]());

const check = (schema: object, answer: unknown) =>
  checker.check("project", JSON.stringify(schema), "json", JSON.stringify(answer));
const step = {
  type: "object",
  properties: { text: { type: "string" } },
  required: ["text"],
  additionalProperties: false,
};
const steps = {
  $schema: "http://json-schema.org/draft-07/schema#",
  type: "object",
  properties: { steps: { type: "array", items: { $ref: "#/definitions/step" } }, answer: { type: ["string", "null"] } },
  required: ["steps", "answer"],
  additionalProperties: false,
  definitions: { step },
};

describe("answers", () => {
  test.each([
    [steps, { steps: [{ text: "a" }], answer: null }, undefined],
    [
      steps,
      { steps: [{ text: 1 }], answer: null },
      "it does not fit the schema at #/properties/steps/items/$ref/properties/text/type",
    ],
    [steps, { steps: [] }, "it does not fit the schema at #/required"],
    [steps, { steps: [], answer: "x", more: 1 }, "it does not fit the schema at #/additionalProperties"],
    [{ anyOf: [{ type: "string" }, { minimum: 3 }] }, 2, "it does not fit the schema at #/anyOf/1/minimum"],
    [{ prefixItems: [{ const: 1 }], items: { enum: ["a", "b"] } }, [1, "a", "b"], undefined],
    [
      { prefixItems: [{ const: 1 }], items: { enum: ["a", "b"] } },
      [1, "c"],
      "it does not fit the schema at #/items/enum",
    ],
    [{ pattern: "^[a-z]+$" }, "水", "it does not fit the schema at #/pattern"],
    [{ patternProperties: { "^x-": { type: "string" } }, additionalProperties: false }, { "x-a": "1" }, undefined],
    [
      { patternProperties: { "^x-": { type: "string" } }, additionalProperties: false },
      { a: "1" },
      "it does not fit the schema at #/additionalProperties",
    ],
    [{ format: "date" }, "2026-02-30", "it does not fit the schema at #/format"],
    [{ format: "constructor" }, "x", undefined],
    [{ required: ["__proto__"] }, {}, "it does not fit the schema at #/required"],
    [{ required: ["constructor"] }, {}, "it does not fit the schema at #/required"],
    [{}, [1], undefined],
  ])("%j of %j", async (schema, answer, problem) => {
    expect(await checker.prepare("project", JSON.stringify(schema))).toBeUndefined();
    expect(await check(schema, answer)).toBe(problem);
  });

  test("a text is taken as it is", async () => {
    const schema = JSON.stringify({ type: "string", pattern: "^\\d+$" });
    expect(await checker.check("project", schema, "text", "12")).toBeUndefined();
    expect(await checker.check("project", schema, "text", '"12"')).toBe("it does not fit the schema at #/pattern");
  });

  test("a schema that is good is known from then on", async () => {
    const schema = JSON.stringify(steps);
    expect(checker.known(schema)).toBeUndefined();
    await checker.prepare("project", schema);
    expect(checker.known(schema)).toBe("good");
  });
});

/** Trees whose every level is looked at twice. */
const twice = { allOf: [{ items: { $ref: "#" } }, { items: { $ref: "#" } }] };
const deep = (levels: number): unknown => JSON.parse("[".repeat(levels) + "]".repeat(levels));

describe("hostile schemas and answers", () => {
  test.each([
    ["1 MB", JSON.stringify({ enum: ["x".repeat(1_000_000)] }), /^is longer than 262144 characters$/],
    ["no JSON", "{", /^is no schema that can be used$/],
    ["100,000 levels", `${'{"not":'.repeat(30_000)}{}${"}".repeat(30_000)}`, /^is deeper than 256 levels of JSON$/],
    ["a circle", '{"$ref":"#"}', /without end$/],
    ["a remote schema", '{"$ref":"http://127.0.0.1:1/"}', /nothing is fetched$/],
    ["a pattern that looks ahead", '{"pattern":"(?=a)"}', /pattern/],
    [
      "deep under a keyword of nobody's",
      `{"x":${'{"y":'.repeat(20_000)}{}${"}".repeat(20_000)}}`,
      /^is deeper than 256 levels of JSON$/,
    ],
  ])("%s is refused", async (_name, schema, problem) => {
    expect(await checker.prepare("project", schema)).toMatchObject({ problem: expect.stringMatching(problem) });
  });

  test("a pattern that backtracks elsewhere holds up nobody", async () => {
    const started = performance.now();
    expect(await check({ pattern: "^(a+)+$" }, `${"a".repeat(100_000)}!`)).toMatch(/pattern$/);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  test("what takes too long ends, its schema is refused from then on, and the next has its turn", async () => {
    const schema = JSON.stringify(twice);
    expect(await checker.prepare("project", schema)).toBeUndefined();
    const { result, turnMs } = await longestTurn(() =>
      Promise.all([checker.check("project", schema, "json", JSON.stringify(deep(200))), check({ type: "string" }, 1)]),
    );
    expect(result).toEqual(["the schema takes too long to be checked", "it does not fit the schema at #/type"]);
    expect(turnMs).toBeLessThan(20);
    expect(checker.known(schema)).toMatchObject({ problem: "takes too long to be checked" });
  });

  test("who asks much waits for itself: another's turn is next but one", async () => {
    const order: string[] = [];
    const ask = async (owner: string, at: number) => {
      await checker.check(owner, '{"type":"string"}', "json", "1");
      order.push(`${owner}${at}`);
    };
    await Promise.all([...[1, 2, 3, 4].map((at) => ask("a", at)), ask("b", 1)]);
    expect(order).toEqual(["a1", "b1", "a2", "a3", "a4"]);
  });

  test("all of it at once holds up nothing else on this thread", async () => {
    const schemas = [
      `{"x":${'{"y":'.repeat(20_000)}{}${"}".repeat(20_000)}}`,
      JSON.stringify({ enum: Array.from({ length: 40_000 }, (_, at) => at) }),
      JSON.stringify({ properties: Object.fromEntries(Array.from({ length: 9_000 }, (_, at) => [`p${at}`, {}])) }),
      JSON.stringify({ pattern: `(a|${"b?".repeat(1_000)})*$` }),
    ];
    const answer = JSON.stringify("a".repeat(200_000));
    const { turnMs } = await longestTurn(() =>
      Promise.all(
        schemas.map(async (schema) => {
          const problem = await checker.prepare("project", schema);
          if (!problem) await checker.check("project", schema, "json", answer);
        }),
      ),
    );
    expect(turnMs).toBeLessThan(20);
  });

  test("who is still asked when it closes is told", async () => {
    const pending = check({ type: "string" }, 1);
    await checker[Symbol.asyncDispose]();
    expect(await pending).toBe("it could not be checked");
    await expect(checker.prepare("project", "{}")).rejects.toMatchObject({ reason: expect.any(Number) });
  });
});
