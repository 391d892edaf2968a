import { describe, expect, test } from "vitest";
import { readSchema } from "../../../../services/router/form/schema-rules.ts";

const nested = (depth: number, inner: object): object =>
  depth === 0 ? inner : { type: "object", properties: { a: nested(depth - 1, inner) } };

describe("schemas as callers send them", () => {
  test.each([
    [{}, "2020-12"],
    [{ $schema: "http://json-schema.org/draft-07/schema#", type: "object" }, "7"],
    [{ $schema: "http://json-schema.org/draft-06/schema", type: "object" }, "7"],
    [{ $schema: "http://json-schema.org/draft-04/schema#", minimum: 1, exclusiveMinimum: true }, "4"],
    [{ $schema: "https://json-schema.org/draft/2019-09/schema" }, "2019-09"],
    [{ $schema: "https://json-schema.org/draft/2020-12/schema" }, "2020-12"],
    [
      { $ref: "#/$defs/step", $defs: { step: { type: "object", properties: { next: { $ref: "#/$defs/step" } } } } },
      "2020-12",
    ],
    [{ type: "object", properties: { child: { anyOf: [{ $ref: "#" }, { type: "null" }] } } }, "2020-12"],
    [{ $ref: "#here", $defs: { a: { $anchor: "here", type: "string" } } }, "2020-12"],
    [{ $ref: "#/definitions/a~1b%25", definitions: { "a/b%": true } }, "2020-12"],
    [{ items: [{ type: "string" }, true], additionalItems: false }, "2020-12"],
    [{ properties: { $ref: { type: "string" }, enum: {}, pattern: { pattern: "^a$" } } }, "2020-12"],
    [{ dependencies: { a: ["b"], c: { required: ["d"] } }, title: 5, examples: [{ $ref: 5 }], enum: [] }, "2020-12"],
    [{ $id: "https://example.com/root", $ref: "#/$defs/x", $defs: { x: {} } }, "2020-12"],
    [nested(60, {}), "2020-12"],
  ])("%j", (schema, draft) => {
    expect(readSchema(schema)).toBe(draft);
  });
});

/** A chain in which each schema applies the next one twice. */
const doubling = (links: number) => ({
  $ref: "#/$defs/s0",
  $defs: Object.fromEntries(
    Array.from({ length: links }, (_, at) => {
      const $ref = `#/$defs/s${at + 1}`;
      return [`s${at}`, at === links - 1 ? {} : { allOf: [{ $ref }, { $ref }] }];
    }),
  ),
});

describe("what is wrong with a schema is told with its place", () => {
  test.each([
    [[], "", "is no object"],
    [true, "", "is no object"],
    [{ $schema: "https://example.com/mine" }, ".$schema", "is no version of JSON Schema from draft 4 to 2020-12"],
    [{ type: "text" }, ".type", "is no type, nor a list of types"],
    [{ type: [] }, ".type", "is no type, nor a list of types"],
    [{ properties: { a: { type: "text" } } }, ".properties.a.type", "is no type, nor a list of types"],
    [{ properties: [] }, ".properties", "is no object of schemas"],
    [{ properties: { a: 1 } }, ".properties", "is no object of schemas"],
    [{ anyOf: [{}, { required: "a" }] }, ".anyOf[1].required", "is no list of names"],
    [{ items: 5 }, ".items", "is neither a schema nor a list of them"],
    [{ allOf: [] }, ".allOf", "is no list of schemas"],
    [{ minLength: -1 }, ".minLength", "is no whole number from 0 on"],
    [{ multipleOf: 0 }, ".multipleOf", "is no number above 0"],
    [{ enum: "a" }, ".enum", "is no list"],
    [{ $ref: 5 }, ".$ref", "is no text"],
    [{ $ref: "https://example.com/x" }, ".$ref", "leads outside the schema, and nothing is fetched"],
    [{ items: { $ref: "file:///etc/passwd" } }, ".items.$ref", "leads outside the schema, and nothing is fetched"],
    [{ $ref: "other.json#/a" }, ".$ref", "leads outside the schema, and nothing is fetched"],
    [{ $ref: "#/$defs/none" }, ".$ref", "leads to no schema"],
    [{ $ref: "#/enum/0", enum: [{ type: "x" }] }, ".$ref", "leads to no schema"],
    [{ $ref: "#/__proto__" }, ".$ref", "leads to no schema"],
    [{ $ref: "#%zz" }, ".$ref", "leads to no schema"],
    [{ $dynamicRef: "#x" }, ".$dynamicRef", "is not supported; use $ref"],
    [{ items: { $id: "https://example.com/x" } }, ".items.$id", "names a part of the schema; use $defs"],
    [{ $ref: "#" }, "", "applies itself to the same value without end"],
    [
      { allOf: [{ $ref: "#/$defs/a" }], $defs: { a: { not: { $ref: "#" } } } },
      "",
      "applies itself to the same value without end",
    ],
    [
      { $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } } },
      ".$defs.a",
      "applies itself to the same value without end",
    ],
    [doubling(40), "", "applies more than 100000 schemas to one value"],
    [nested(65, {}), `${".properties.a".repeat(65)}`, "is deeper than 64 levels"],
  ])("%j", (schema, path, problem) => {
    expect(readSchema(schema)).toEqual({ path, problem });
  });

  test.each([{ pattern: "(?=a)" }, { patternProperties: { "(": {} } }, { items: { pattern: "(a)\\1" } }])(
    "%j",
    (schema) => {
      expect(readSchema(schema)).toMatchObject({ problem: expect.stringMatching(/pattern/) });
    },
  );
});

test("a thousand schemas that refer to one another are read at once", () => {
  const names = Array.from({ length: 1_000 }, (_, at) => `s${at}`);
  const properties = (at: number) => ({
    a: { $ref: `#/$defs/s${(at + 1) % 1_000}` },
    b: { $ref: `#/$defs/s${(at * 7) % 1_000}` },
  });
  const $defs = Object.fromEntries(names.map((name, at) => [name, { type: "object", properties: properties(at) }]));
  const started = performance.now();
  expect(readSchema({ $ref: "#/$defs/s0", $defs })).toBe("2020-12");
  expect(performance.now() - started).toBeLessThan(1_000);
});
