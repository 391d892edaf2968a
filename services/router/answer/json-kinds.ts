/** What JSON calls the type of a value. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

/** Schemas nest deeper only by mistake, and references may go round. */
const depthMax = 16;
/**
 * How much of a schema is looked at for one argument: its parts, what they list, the steps of references. Few tell the
 * type; parts that refer to each other could go on for ever, and nothing else runs meanwhile.
 */
const looksMax = 1_024;
/** Characters of a reference that is followed. */
const referenceMax = 1_024;

/**
 * The JSON types that a part of a schema allows; undefined: it does not say. Where a number is allowed, so is an integer.
 * What is too long to be looked through says nothing.
 *
 * @param root the whole schema, which references begin at.
 */
export function kindsOf(schema: unknown, root: unknown): ReadonlySet<string> | undefined {
  let left = looksMax;
  return kindsAt(schema, 0);

  function kindsAt(at: unknown, depth: number): ReadonlySet<string> | undefined {
    if (!takes(1) || depth > depthMax || typeof at !== "object" || at === null) return undefined;
    const inside = (one: unknown) => kindsAt(one, depth + 1);
    // Its members take their looks themselves, but a list that there are not enough for is not begun.
    const partsIn = (member: string) => {
      const list = memberOf(at, member);
      return Array.isArray(list) && list.length <= left ? list.map(inside) : [];
    };
    const steps = stepsOf(memberOf(at, "$ref"));
    const type = memberOf(at, "type");
    const types: unknown[] = Array.isArray(type) ? type : [type];
    const values = memberOf(at, "enum");
    const says = [
      steps && takes(steps.length) ? inside(partAt(steps, root)) : undefined,
      type !== undefined && takes(types.length) ? named(types) : undefined,
      union(partsIn("anyOf")),
      union(partsIn("oneOf")),
      ...partsIn("allOf"),
      Array.isArray(values) && takes(values.length) ? named(values.map(kindOf)) : undefined,
      Object.hasOwn(at, "const") ? named([kindOf(memberOf(at, "const"))]) : undefined,
    ].filter((kinds) => kinds !== undefined);
    return says.length === 0 ? undefined : says.reduce((one, other) => one.intersection(other));
  }

  function takes(looks: number): boolean {
    if (looks > left) return false;
    left -= looks;
    return true;
  }
}

/** The part of a schema itself: what a reference leads to, as far as it stands in the same schema. */
export function resolved(schema: unknown, root: unknown): unknown {
  let at = schema;
  for (let depth = 0; depth <= depthMax; depth++) {
    const reference = memberOf(at, "$ref");
    if (typeof reference !== "string") return at;
    const steps = stepsOf(reference);
    at = steps && partAt(steps, root);
  }
  return undefined;
}

/** The own member of an object; undefined: there is none. */
export function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
  return Reflect.get(value, name);
}

/** The steps of a reference such as `#/a/b/0`; undefined: it is none that is followed. */
function stepsOf(reference: unknown): readonly string[] | undefined {
  if (typeof reference !== "string" || reference.length > referenceMax) return undefined;
  return reference === "#" || reference.startsWith("#/") ? reference.split("/").slice(1) : undefined;
}

function partAt(steps: readonly string[], root: unknown): unknown {
  let at = root;
  for (const step of steps) at = memberOf(at, decoded(step));
  return at;
}

function decoded(step: string): string {
  let plain = step;
  try {
    plain = decodeURIComponent(step);
  } catch {
    // A percent sign that escapes nothing is one.
  }
  return plain.replaceAll("~1", "/").replaceAll("~0", "~");
}

function named(types: readonly unknown[]): ReadonlySet<string> {
  const kinds = new Set(types.filter((one) => typeof one === "string"));
  if (kinds.has("number")) kinds.add("integer");
  return kinds;
}

/** What is of any of them; where one does not say, neither do they together. */
function union(alternatives: readonly (ReadonlySet<string> | undefined)[]): ReadonlySet<string> | undefined {
  const kinds = new Set<string>();
  for (const one of alternatives) {
    if (!one) return undefined;
    for (const kind of one) kinds.add(kind);
  }
  return alternatives.length > 0 ? kinds : undefined;
}
