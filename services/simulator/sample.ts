import { parsedMembers } from "./json.ts";

/** Deeper schemas are answered with null. */
const depthMax = 16;

/** What is said where some JSON object is demanded. */
export const someObject = '{"answer": "forty-two"}';

/** JSON that fits a schema, both as text. A schema that is no JSON demands nothing. */
export function sampleText(schemaJson: string): string {
  return JSON.stringify(sampleOf(Object.fromEntries(parsedMembers(schemaJson) ?? [])));
}

/** The first text of a pattern that lists some, as `(?:a)|(?:b)`; undefined: it does not. */
export function firstText(pattern: string): string | undefined {
  return /^\(\?:((?:[^\\()|]|\\.)*)\)/.exec(pattern)?.[1]?.replace(/\\(.)/g, "$1");
}

/** A value that fits a JSON schema, as far as its types, enums and required properties go. */
export function sampleOf(schema: unknown, depth = 0): unknown {
  if (typeof schema !== "object" || schema === null || depth > depthMax) return null;
  const members = new Map<string, unknown>(Object.entries(schema));
  const options = members.get("enum");
  if (Array.isArray(options)) return options[0];
  if (members.has("const")) return members.get("const");
  const type = members.get("type");
  switch (Array.isArray(type) ? type[0] : type) {
    case "string":
      return "river";
    case "integer":
      return 42;
    case "number":
      return 4.5;
    case "boolean":
      return true;
    case "array":
      return [sampleOf(members.get("items"), depth + 1)];
    case "null":
      return null;
    default: {
      const properties = members.get("properties");
      const entries = typeof properties === "object" && properties !== null ? Object.entries(properties) : [];
      return Object.fromEntries(entries.map(([name, each]) => [name, sampleOf(each, depth + 1)]));
    }
  }
}
