/** The members of a JSON object; undefined for a text that is none. */
export function parsedMembers(json: string): ReadonlyMap<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? new Map(Object.entries(value)) : undefined;
  } catch (error) {
    // No JSON is no object either.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
