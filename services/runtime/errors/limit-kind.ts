/** What OpenAI's API calls a limit by: what its headers end in, and the type of its errors. */
export type LimitKind = "requests" | "tokens";

/** The kind of a limit, by the metadata key `dimension`. */
export function limitKind(dimension: string | undefined): LimitKind {
  return dimension?.endsWith("tokens") ? "tokens" : "requests";
}
