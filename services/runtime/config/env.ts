/** The only place that reads the environment. */
export function environment(name: string): string | undefined {
  return process.env[name];
}

/** `${NAME}` inside a value. `$${` stands for a literal `${`. */
const reference = /\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)\}/g;

/** Whether a value is taken from the environment. */
export function namesEnvironment(text: string): boolean {
  return new RegExp(reference.source).test(text);
}

/**
 * Puts the environment's values into a text, or says which have none. A variable that is set but empty is refused like
 * one that is not set: as a value it would select the field's default, such as a database of our own.
 */
export function expandEnvironment(
  text: string,
  read: (name: string) => string | undefined,
): { readonly text: string } | { readonly problem: string } {
  const missing = new Set<string>();
  const empty = new Set<string>();
  const expanded = text.replace(reference, (whole, escape: string, name: string) => {
    if (escape !== "") return whole.slice(1);
    const value = read(name);
    if (value === undefined) missing.add(name);
    else if (value.trim() === "") empty.add(name);
    return value ?? "";
  });
  const problems: string[] = [];
  if (missing.size > 0) problems.push(`environment variable not set: ${[...missing].join(", ")}`);
  if (empty.size > 0) {
    const told = [...empty].map((name) => `${name} is set but empty`).join(", ");
    problems.push(`${told}: give it a value, or leave this field out`);
  }
  return problems.length > 0 ? { problem: problems.join("; ") } : { text: expanded };
}
