import type { Tool } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import type { Tools } from "./call-writer.ts";
import { kindsOf, memberOf, resolved } from "./json-kinds.ts";

/** The functions that a request offers. A schema is read when it is asked for. */
export function offeredTools(tools: readonly Tool[]): Tools {
  const schemas = new Map<string, unknown>();
  const byName = new Map(tools.map((tool) => [tool.name, tool]));
  const schemaOf = (name: string): unknown => {
    const tool = byName.get(name);
    if (tool && !schemas.has(name)) schemas.set(name, parsed(tool.parametersJson));
    return schemas.get(name);
  };
  const schemaOfArgument = (name: string, argument: string): unknown => {
    const root = schemaOf(name);
    return memberOf(memberOf(resolved(root, root), "properties"), argument);
  };
  return {
    has: (name) => byName.has(name),
    kinds: (name, argument) => kindsOf(schemaOfArgument(name, argument), schemaOf(name)),
    refers: (name, argument) => (JSON.stringify(schemaOfArgument(name, argument)) ?? "").includes('"$ref":'),
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
