import {
  type DescEnum,
  type DescField,
  type DescMessage,
  hasOption,
  type JsonObject,
  type JsonValue,
  type ScalarType,
} from "@bufbuild/protobuf";
import { isAlias, isMap, isScalar, isSeq, type Document, LineCounter, type Node, type Pair, parseDocument } from "yaml";
import { redact } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";
import { expandEnvironment, namesEnvironment } from "./env.ts";
import type { Problem } from "./problem.ts";
import { type Converted, durationJson, enumJson, keyOf, scalarJson } from "./scalar.ts";

/** A file as it was read: its content in protobuf's JSON form, and the line of every path. */
export interface Walked {
  readonly json: JsonObject;
  readonly lines: ReadonlyMap<string, number>;
  readonly problems: readonly Problem[];
  /** Paths of secrets that stand in the file itself. */
  readonly inlineSecrets: readonly Problem[];
}

/** Aliases of one document; more is an attack, or nobody's configuration. */
const aliasesMax = 100;
/** Values of one document, after aliases are followed. */
const valuesMax = 200_000;

/**
 * Reads YAML against a message: unknown and repeated keys, wrong types, syntax errors, unset and empty variables are
 * all reported, each with its line.
 */
export function walkYaml(
  text: string,
  desc: DescMessage,
  readEnvironment: (name: string) => string | undefined,
): Walked {
  const counter = new LineCounter();
  const document = parseDocument(text, { lineCounter: counter, uniqueKeys: true, version: "1.2", intAsBigInt: true });
  const walker = new Walker(document, counter, readEnvironment);
  for (const error of document.errors) walker.problem("", error.linePos?.[0].line ?? 0, firstLine(error.message));
  const json =
    document.errors.length > 0 || document.contents === null ? {} : walker.message(document.contents, desc, "");
  return {
    json: isObject(json) ? json : {},
    lines: walker.lines,
    problems: walker.problems,
    inlineSecrets: walker.inlineSecrets,
  };
}

function firstLine(message: string): string {
  return (message.split("\n")[0] ?? message).replace(/ at line \d+, column \d+:?$/, "");
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

class Walker {
  readonly lines = new Map<string, number>();
  readonly problems: Problem[] = [];
  readonly inlineSecrets: Problem[] = [];
  readonly #document: Document;
  readonly #counter: LineCounter;
  readonly #readEnvironment: (name: string) => string | undefined;
  #aliases = 0;
  #values = 0;

  constructor(document: Document, counter: LineCounter, readEnvironment: (name: string) => string | undefined) {
    this.#document = document;
    this.#counter = counter;
    this.#readEnvironment = readEnvironment;
  }

  problem(path: string, line: number, message: string): undefined {
    this.problems.push({ path, line, message });
    return undefined;
  }

  message(given: unknown, desc: DescMessage, path: string): JsonValue | undefined {
    const node = this.#follow(given, path);
    if (node === undefined) return undefined;
    const line = this.#mark(node, path);
    if (desc.typeName === "google.protobuf.Duration") return this.#take(durationJson(plain(node)), path, line);
    if (!isMap(node)) return this.problem(path, line, "must be a mapping of keys to values");
    const fields = new Map(desc.fields.map((field) => [keyOf(field), field]));
    const json: JsonObject = {};
    for (const pair of node.items) {
      const key = keyText(pair);
      const at = path === "" ? key : `${path}.${key}`;
      const field = fields.get(key);
      if (field === undefined) {
        this.problem(at, this.#lineOf(pair.key), `unknown key; known here: ${[...fields.keys()].join(", ")}`);
      } else {
        const value =
          isScalar(pair.value) && pair.value.value === null ? undefined : this.#field(pair.value, field, at);
        if (value !== undefined) json[field.jsonName] = value;
      }
    }
    return json;
  }

  #field(given: unknown, field: DescField, path: string): JsonValue | undefined {
    if (field.fieldKind === "list") return this.#list(given, field, path);
    if (field.fieldKind === "map") return this.#map(given, field, path);
    if (field.fieldKind === "message") return this.message(given, field.message, path);
    return this.#leaf(given, field, field.fieldKind === "enum" ? field.enum : field.scalar, path);
  }

  #list(given: unknown, field: DescField & { fieldKind: "list" }, path: string): JsonValue | undefined {
    const node = this.#follow(given, path);
    if (node === undefined) return undefined;
    const line = this.#mark(node, path);
    if (!isSeq(node)) return this.problem(path, line, "must be a list");
    return node.items.flatMap((item, index) => {
      const at = `${path}[${index}]`;
      const value =
        field.listKind === "message"
          ? this.message(item, field.message, at)
          : this.#leaf(item, field, field.listKind === "enum" ? field.enum : field.scalar, at);
      // What follows keeps its place in the list.
      if (value === undefined && field.listKind === "message") return [{}];
      return value === undefined ? [] : [value];
    });
  }

  #map(given: unknown, field: DescField & { fieldKind: "map" }, path: string): JsonValue | undefined {
    const node = this.#follow(given, path);
    if (node === undefined) return undefined;
    const line = this.#mark(node, path);
    if (!isMap(node)) return this.problem(path, line, "must be a mapping of keys to values");
    const json: JsonObject = {};
    for (const pair of node.items) {
      const key = keyText(pair);
      const at = `${path}.${key}`;
      const value =
        field.mapKind === "message"
          ? this.message(pair.value, field.message, at)
          : this.#leaf(pair.value, field, field.mapKind === "enum" ? field.enum : field.scalar, at);
      if (value !== undefined) json[key] = value;
    }
    return json;
  }

  #leaf(given: unknown, field: DescField, type: DescEnum | ScalarType, path: string): JsonValue | undefined {
    const node = this.#follow(given, path);
    if (node === undefined) return undefined;
    const line = this.#mark(node, path);
    if (!isScalar(node)) return this.problem(path, line, "must be a single value");
    if (typeof type === "object") return this.#take(enumJson(type, node.value), path, line);
    if (typeof node.value !== "string") return this.#take(scalarJson(type, plain(node)), path, line);
    if (hasOption(field, redact) && !namesEnvironment(node.value)) {
      this.inlineSecrets.push({
        path,
        line,
        message: "a secret stands in the file; better take it from ${ENV} or a *_file",
      });
    }
    const expanded = expandEnvironment(node.value, this.#readEnvironment);
    if ("problem" in expanded) return this.problem(path, line, expanded.problem);
    return this.#take(scalarJson(type, expanded.text), path, line);
  }

  #take(converted: Converted, path: string, line: number): JsonValue | undefined {
    return "json" in converted ? converted.json : this.problem(path, line, converted.problem);
  }

  /** The node that an alias stands for, within bounds; undefined after a problem. */
  #follow(given: unknown, path: string): Node | undefined {
    let node = given;
    if (++this.#values > valuesMax) {
      if (this.#values === valuesMax + 1) this.problem(path, 0, `more than ${valuesMax} values`);
      return undefined;
    }
    if (isAlias(node)) {
      if (++this.#aliases > aliasesMax) {
        if (this.#aliases === aliasesMax + 1) this.problem(path, this.#lineOf(node), `more than ${aliasesMax} aliases`);
        return undefined;
      }
      node = node.resolve(this.#document);
    }
    if (isMap(node) || isSeq(node) || isScalar(node)) return node;
    return this.problem(path, 0, "has no value");
  }

  #mark(node: Node, path: string): number {
    const line = this.#lineOf(node);
    this.lines.set(path, line);
    return line;
  }

  #lineOf(node: unknown): number {
    const range = isMap(node) || isSeq(node) || isScalar(node) || isAlias(node) ? node.range : undefined;
    return range ? this.#counter.linePos(range[0]).line : 0;
  }
}

function keyText(pair: Pair): string {
  return isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
}

/** A scalar's value; whole numbers are bigints, so that none is rounded on the way. */
function plain(node: Node): unknown {
  return isScalar(node) ? node.value : undefined;
}
