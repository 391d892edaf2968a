import type { Tool } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import type { Tools } from "./call-writer.ts";
import { kindsOf, memberOf, resolved } from "./json-kinds.ts";

/** A function's schema, and what it says of each argument. */
interface Offered {
  readonly root: unknown;
  readonly properties: unknown;
}

const unknownFunction: Offered = { root: undefined, properties: undefined };

/** What an argument's schema says. It is looked through once: an answer may give the argument many thousand times. */
interface Argument {
  readonly kinds: ReadonlySet<string> | undefined;
  readonly refers: boolean;
}

/** The functions that a request offers. A schema is read when it is asked for. */
export function offeredTools(tools: readonly Tool[]): Tools {
  const byName = new Map(tools.map((tool) => [tool.name, tool]));
  const offered = new Map<string, Offered>();
  // By their place in the schema: the names that an answer makes up have none.
  const known = new Map<unknown, Argument>();
  const offeredAs = (name: string): Offered | undefined => {
    const tool = byName.get(name);
    if (tool && !offered.has(name)) offered.set(name, read(tool));
    return offered.get(name);
  };
  const argument = (name: string, argumentName: string): Argument => {
    const { root, properties } = offeredAs(name) ?? unknownFunction;
    const schema = memberOf(properties, argumentName);
    const before = known.get(schema);
    if (before) return before;
    const found = { kinds: kindsOf(schema, root), refers: (JSON.stringify(schema) ?? "").includes('"$ref":') };
    known.set(schema, found);
    return found;
  };
  return {
    has: (name) => byName.has(name),
    kinds: (name, argumentName) => argument(name, argumentName).kinds,
    refers: (name, argumentName) => argument(name, argumentName).refers,
  };
}

function read({ parametersJson }: Tool): Offered {
  const root = parsed(parametersJson);
  return { root, properties: memberOf(resolved(root, root), "properties") };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    // Without a schema, arguments are what they look like.
    return undefined;
  }
}
