import type { Target } from "./driver.ts";

/** What an engine wants of us to let us in, and where. */
export type Credential = Pick<Target, "engineKey" | "engineKeyHeader">;

/**
 * The header that lets us in at an engine.
 *
 * @param place where its protocol has a place for the key, unless the operator named another.
 */
export function credentialHeader(
  { engineKey, engineKeyHeader }: Credential,
  place: (key: string) => Readonly<Record<string, string>> = bearer,
): Readonly<Record<string, string>> {
  if (engineKey === undefined) return {};
  return engineKeyHeader === undefined ? place(engineKey) : { [engineKeyHeader]: engineKey };
}

function bearer(key: string): Readonly<Record<string, string>> {
  return { authorization: `Bearer ${key}` };
}
