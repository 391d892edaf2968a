/** Numbers that are told in one piece. */
const numbersMax = 8_192;

/** What protobuf's library adds to a message. */
const notSaid: ReadonlySet<string> = new Set(["$typeName", "$unknown"]);

/**
 * All that a message says, name by name, in an order that does not depend on who built it. What is not set is not told.
 * Without recursion: depth is the caller's choice.
 */
export function* leavesOf(message: object): Generator<string | Uint8Array> {
  /** The next one last. */
  const open: unknown[] = [message];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value === "string" || value instanceof Uint8Array) yield value;
    else if (typeof value !== "object" || value === null) yield String(value);
    else if (Array.isArray(value)) {
      const list: readonly unknown[] = value;
      yield `[${list.length}`;
      if (typeof list[0] === "number") yield* numbersOf(list);
      else for (let at = list.length - 1; at >= 0; at -= 1) open.push(list[at]);
    } else {
      open.push("}");
      for (const [name, member] of Object.entries(value).sort(backwards))
        if (member !== undefined && !notSaid.has(name)) open.push(member, name);
    }
  }
}

/** Token ids may be two million. */
function* numbersOf(list: readonly unknown[]): Generator<string> {
  for (let at = 0; at < list.length; at += numbersMax) yield list.slice(at, at + numbersMax).join();
}

function backwards([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? 1 : -1;
}
