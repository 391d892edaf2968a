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

/** Puts the environment's values into a text; the names that are not set are returned instead of a text. */
export function expandEnvironment(
  text: string,
  read: (name: string) => string | undefined,
): { readonly text: string } | { readonly missing: readonly string[] } {
  const missing: string[] = [];
  const expanded = text.replace(reference, (whole, escape: string, name: string) => {
    if (escape !== "") return whole.slice(1);
    const value = read(name);
    if (value === undefined) missing.push(name);
    return value ?? "";
  });
  return missing.length > 0 ? { missing } : { text: expanded };
}
