/** The value, where a test knows that there is one. @throws when there is none. */
export function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("expected a value, and there is none");
  return value;
}
