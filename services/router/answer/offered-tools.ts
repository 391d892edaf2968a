import type { Tool } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import type { Tools } from "./call-writer.ts";

/** The functions that a request offers. A schema is read when it is asked for. */
export function offeredTools(tools: readonly Tool[]): Tools {
  const schemas = new Map<string, unknown>();
  const byName = new Map(tools.map((tool) => [tool.name, tool]));
  const schemaOf = (name: string): unknown => {
    const tool = byName.get(name);
    if (tool && !schemas.has(name)) schemas.set(name, parsed(tool.parametersJson));
    return schemas.get(name);
  };
  return {
    has: (name) => byName.has(name),
    kinds(name, argument) {
      const properties = memberOf(schemaOf(name), "properties");
      return kindsOf(memberOf(properties, argument), 0);
    },
  };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    // Without a schema, arguments are what they look like.
    return undefined;
  }
}

/** Schemas nest deeper only by mistake. */
const depthMax = 8;

/** The JSON types that a schema allows; undefined: it does not say. */
function kindsOf(schema: unknown, depth: number): ReadonlySet<string> | undefined {
  if (depth > depthMax || typeof schema !== "object" || schema === null) return undefined;
  const type = memberOf(schema, "type");
  if (typeof type === "string") return new Set([type]);
  if (Array.isArray(type)) return new Set(type.filter((one) => typeof one === "string"));
  for (const member of ["anyOf", "oneOf", "allOf"]) {
    const alternatives = memberOf(schema, member);
    if (!Array.isArray(alternatives)) continue;
    const kinds = alternatives.flatMap((one) => [...(kindsOf(one, depth + 1) ?? [])]);
    if (kinds.length > 0) return new Set(kinds);
  }
  const values = memberOf(schema, "enum");
  if (Array.isArray(values)) return new Set(values.map((value) => (value === null ? "null" : typeof value)));
  return undefined;
}

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
  return new Map<string, unknown>(Object.entries(value)).get(name);
}
