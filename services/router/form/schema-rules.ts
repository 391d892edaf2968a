import { linearPattern } from "./linear-pattern.ts";

/** The version of JSON Schema that a schema is written in, as the validator calls it. */
export type SchemaDraft = "4" | "7" | "2019-09" | "2020-12";

/** What is wrong with a schema, and where: a path of members from its root on, or empty. */
export interface SchemaProblem {
  readonly path: string;
  readonly problem: string;
}

/** Levels of schemas inside schemas. */
const depthMax = 64;
/** Levels of JSON, also where it is no schema: the validator looks for schemas there too. */
const jsonDepthMax = 256;
/** What one value may take, in schemas that apply to it: more is a schema made to take long. */
const costMax = 100_000;

type Shape = (value: unknown) => boolean;
type Schema = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isSchema = (value: unknown): boolean => typeof value === "boolean" || isObject(value);
const isText = (value: unknown): value is string => typeof value === "string";
const isCount = (value: unknown) => Number.isInteger(value) && Number(value) >= 0;
const isNumber = (value: unknown) => typeof value === "number" && Number.isFinite(value);
const isBound = (value: unknown) => isNumber(value) || typeof value === "boolean";
const isTexts = (value: unknown) => Array.isArray(value) && value.every(isText);
const isMap = (shape: Shape) => (value: unknown) => isObject(value) && Object.values(value).every(shape);
const isSchemas = (value: unknown) => Array.isArray(value) && value.length > 0 && value.every(isSchema);

const types = new Set<unknown>(["array", "boolean", "integer", "null", "number", "object", "string"]);
const isType = (value: unknown) =>
  Array.isArray(value) ? value.length > 0 && value.every((one) => types.has(one)) : types.has(value);

/** Keywords that apply a schema to the same value. */
const inPlace = "allOf anyOf oneOf not if then else dependentSchemas dependencies".split(" ");
/** Keywords that apply one to what is inside it, and those that only hold some. */
const inside = [
  "additionalItems",
  "additionalProperties",
  "contains",
  "items",
  "prefixItems",
  "propertyNames",
  "unevaluatedItems",
  "unevaluatedProperties",
  "patternProperties",
  "properties",
  "$defs",
  "definitions",
];

const shapes: Readonly<Record<string, readonly [Shape, string]>> = {
  ...group([isSchema, "is no schema"], "not", "if", "then", "else", "contains", "propertyNames"),
  ...group([isSchema, "is no schema"], "additionalItems", "unevaluatedItems"),
  ...group([isSchema, "is no schema"], "additionalProperties", "unevaluatedProperties"),
  ...group([isSchemas, "is no list of schemas"], "allOf", "anyOf", "oneOf", "prefixItems"),
  ...group([(value) => isSchema(value) || isSchemas(value), "is neither a schema nor a list of them"], "items"),
  ...group([isMap(isSchema), "is no object of schemas"], "properties", "patternProperties", "dependentSchemas"),
  ...group([isMap(isSchema), "is no object of schemas"], "$defs", "definitions"),
  ...group([isMap((value) => isSchema(value) || isTexts(value)), "is no object of schemas or lists"], "dependencies"),
  ...group([isMap(isTexts), "is no object of lists of names"], "dependentRequired"),
  ...group([isCount, "is no whole number from 0 on"], "minLength", "maxLength", "minItems", "maxItems"),
  ...group([isCount, "is no whole number from 0 on"], "minProperties", "maxProperties", "minContains", "maxContains"),
  ...group([isNumber, "is no number"], "minimum", "maximum"),
  // In draft 4 they say of `minimum` and `maximum` whether these are excluded.
  ...group([isBound, "is no number"], "exclusiveMinimum", "exclusiveMaximum"),
  ...group([(value) => isNumber(value) && Number(value) > 0, "is no number above 0"], "multipleOf"),
  // In draft 3 `required` was said of one member.
  ...group([isTexts, "is no list of names"], "required"),
  ...group([isType, "is no type, nor a list of types"], "type"),
  ...group([Array.isArray, "is no list"], "enum"),
  ...group([(value) => typeof value === "boolean", "is neither true nor false"], "uniqueItems"),
  ...group([isText, "is no text"], "$ref", "$id", "$schema", "$anchor", "pattern", "format"),
};

function group(shape: readonly [Shape, string], ...names: readonly string[]): Record<string, readonly [Shape, string]> {
  return Object.fromEntries(names.map((name) => [name, shape]));
}

/** What could lead outside the schema, or to another place than it says. */
const refused: ReadonlyMap<string, string> = new Map([
  ["$dynamicRef", "is not supported; use $ref"],
  ["$recursiveRef", "is not supported; use $ref"],
]);

interface Found {
  readonly schema: Schema;
  readonly path: string;
}

/**
 * Reads a schema, without evaluating it: that each keyword has the form that its validator relies on, that it refers to
 * nothing but its own parts, that no value makes it run in circles, and that its patterns can be tried in linear time.
 */
export function readSchema(root: unknown): SchemaDraft | SchemaProblem {
  if (!isObject(root)) return { path: "", problem: "is no object" };
  if (isDeeperThan(root, jsonDepthMax)) return { path: "", problem: `is deeper than ${jsonDepthMax} levels of JSON` };
  const draft = draftOf(root["$schema"]);
  if (!draft) return { path: ".$schema", problem: "is no version of JSON Schema from draft 4 to 2020-12" };
  const found = new Map<Schema, string>();
  const problem = collect(root, found) ?? firstOf(found, (one) => wrongReference(one, root, found));
  return problem ?? endless(root, found) ?? draft;
}

function isDeeperThan(value: unknown, levels: number): boolean {
  let level: readonly unknown[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > levels) return true;
    level = level.flatMap((one): unknown[] => (typeof one === "object" && one !== null ? Object.values(one) : []));
  }
  return false;
}

function draftOf(named: unknown): SchemaDraft | undefined {
  if (named === undefined || !isText(named)) return named === undefined ? "2020-12" : undefined;
  const version = /^https?:\/\/json-schema\.org\/(?:draft\/(2019-09|2020-12)|draft-0([467]))\/schema#?$/.exec(named);
  if (!version) return undefined;
  if (version[1]) return version[1] === "2019-09" ? "2019-09" : "2020-12";
  return version[2] === "4" ? "4" : "7";
}

/** Finds all schemas inside, and the first thing that is wrong with one alone. */
function collect(root: Schema, found: Map<Schema, string>): SchemaProblem | undefined {
  let level: Found[] = [{ schema: root, path: "" }];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > depthMax) return { path: level[0]?.path ?? "", problem: `is deeper than ${depthMax} levels` };
    const next: Found[] = [];
    for (const one of level) {
      const problem = wrongAlone(one, one.schema === root);
      if (problem) return problem;
      found.set(one.schema, one.path);
      for (const name of [...inPlace, ...inside]) next.push(...schemasIn(one, name));
    }
    level = next;
  }
  return undefined;
}

function wrongAlone({ schema, path }: Found, isRoot: boolean): SchemaProblem | undefined {
  for (const [name, value] of Object.entries(schema)) {
    const at = `${path}.${name}`;
    const shape = Object.hasOwn(shapes, name) ? shapes[name] : undefined;
    if (shape && !shape[0](value)) return { path: at, problem: shape[1] };
    const no = refused.get(name);
    if (no !== undefined) return { path: at, problem: no };
    if ((name === "$id" || name === "id") && !isRoot && isText(value))
      return { path: at, problem: "names a part of the schema; use $defs" };
    const patterns =
      name === "pattern" ? [value] : name === "patternProperties" && isObject(value) ? Object.keys(value) : [];
    for (const pattern of patterns) {
      const compiled = linearPattern(String(pattern));
      if (typeof compiled === "string") return { path: at, problem: compiled };
    }
  }
  return undefined;
}

/** The schemas that a keyword holds. */
function schemasIn({ schema, path }: Found, name: string): Found[] {
  const value = schema[name];
  if (isObject(value) && !mapKeywords.has(name)) return [{ schema: value, path: `${path}.${name}` }];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, one]: [string, unknown]) =>
    isObject(one)
      ? [{ schema: one, path: Array.isArray(value) ? `${path}.${name}[${key}]` : `${path}.${name}.${key}` }]
      : [],
  );
}

/** Keywords that hold schemas by names of the caller's. */
const mapKeywords: ReadonlySet<string> = new Set(
  "properties patternProperties dependentSchemas dependencies $defs definitions".split(" "),
);

function firstOf(
  found: ReadonlyMap<Schema, string>,
  problemOf: (one: Found) => SchemaProblem | undefined,
): SchemaProblem | undefined {
  for (const [schema, path] of found) {
    const problem = problemOf({ schema, path });
    if (problem) return problem;
  }
  return undefined;
}

function wrongReference(
  { schema, path }: Found,
  root: Schema,
  found: ReadonlyMap<Schema, string>,
): SchemaProblem | undefined {
  const { $ref } = schema;
  if (!isText($ref)) return undefined;
  if (!$ref.startsWith("#"))
    return { path: `${path}.$ref`, problem: "leads outside the schema, and nothing is fetched" };
  const target = targetOf($ref, root, found);
  if (typeof target === "boolean" || (target && found.has(target))) return undefined;
  return { path: `${path}.$ref`, problem: "leads to no schema" };
}

/** What a reference inside the schema leads to. */
function targetOf($ref: string, root: Schema, found: ReadonlyMap<Schema, string>): Schema | boolean | undefined {
  const fragment = decoded($ref.slice(1));
  if (fragment === "") return root;
  if (!fragment.startsWith("/")) return Array.from(found.keys()).find(({ $anchor }) => $anchor === fragment);
  let value: unknown = root;
  for (const part of fragment.slice(1).split("/")) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Schema)[key];
  }
  return typeof value === "boolean" || isObject(value) ? value : undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // No escapes that mean anything: it leads nowhere.
    return text;
  }
}

/** A schema that applies itself to the same value again, or so many that it takes long. */
function endless(root: Schema, found: ReadonlyMap<Schema, string>): SchemaProblem | undefined {
  const costs = new Map<Schema, number>();
  const costOf = (schema: Schema): number => {
    const known = costs.get(schema);
    if (known !== undefined) return known;
    // Whoever comes back here before it is known runs in a circle.
    costs.set(schema, Number.POSITIVE_INFINITY);
    const target = isText(schema["$ref"]) ? targetOf(schema["$ref"], root, found) : undefined;
    const parts = inPlace.flatMap((name) => schemasIn({ schema, path: "" }, name)).map((one) => one.schema);
    let cost = 1;
    for (const part of isObject(target) ? [...parts, target] : parts) cost += costOf(part);
    costs.set(schema, cost);
    return cost;
  };
  return firstOf(found, ({ schema, path }) => {
    const cost = costOf(schema);
    if (cost === Number.POSITIVE_INFINITY) return { path, problem: "applies itself to the same value without end" };
    return cost > costMax ? { path, problem: `applies more than ${costMax} schemas to one value` } : undefined;
  });
}
