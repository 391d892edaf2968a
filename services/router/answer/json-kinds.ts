/** What JSON calls the type of a value. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

/** Schemas nest deeper only by mistake, and references may go round. */
const depthMax = 16;
/** An argument's type is told by few parts of a schema; ones that refer to each other could go on for ever. */
const partsMax = 256;

/**
 * The JSON types that a part of a schema allows; undefined: it does not say. Where a number is allowed, so is an integer.
 *
 * @param root the whole schema, which references begin at.
 */
export function kindsOf(schema: unknown, root: unknown): ReadonlySet<string> | undefined {
  let parts = 0;
  return kindsAt(schema, 0);

  function kindsAt(at: unknown, depth: number): ReadonlySet<string> | undefined {
    if (depth > depthMax || ++parts > partsMax || typeof at !== "object" || at === null) return undefined;
    const inside = (one: unknown) => kindsAt(one, depth + 1);
    const reference = memberOf(at, "$ref");
    const type = memberOf(at, "type");
    const values = memberOf(at, "enum");
    const says = [
      typeof reference === "string" ? inside(referred(reference, root)) : undefined,
      type === undefined ? undefined : named(Array.isArray(type) ? type : [type]),
      ...["anyOf", "oneOf"].map((member) => union(listOf(at, member).map(inside))),
      ...listOf(at, "allOf").map(inside),
      Array.isArray(values) ? named(values.map(kindOf)) : undefined,
      Object.hasOwn(at, "const") ? named([kindOf(memberOf(at, "const"))]) : undefined,
    ].filter((kinds) => kinds !== undefined);
    return says.length === 0 ? undefined : says.reduce((one, other) => one.intersection(other));
  }
}

/** The part of a schema itself: what a reference leads to, as far as it stands in the same schema. */
export function resolved(schema: unknown, root: unknown): unknown {
  let at = schema;
  for (let depth = 0; depth <= depthMax; depth++) {
    const reference = memberOf(at, "$ref");
    if (typeof reference !== "string") return at;
    at = referred(reference, root);
  }
  return undefined;
}

/** The own member of an object; undefined: there is none. */
export function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
  return Reflect.get(value, name);
}

/** What stands at `#/a/b/0` of a schema; other addresses are not followed. */
function referred(reference: string, root: unknown): unknown {
  if (reference !== "#" && !reference.startsWith("#/")) return undefined;
  let at = root;
  for (const step of reference.split("/").slice(1)) at = memberOf(at, decoded(step));
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

function listOf(schema: object, member: string): readonly unknown[] {
  const list = memberOf(schema, member);
  return Array.isArray(list) ? list : [];
}
