import { type EngineName, installEngine } from "./install.ts";

/** What a test file knows before it declares its tests. */
export interface EngineGate {
  /** For `describe.skipIf(gate.skip)`. */
  readonly skip: boolean;
  /** The title, with the reason of the skip at its end, so that no report hides it. */
  title(title: string): string;
}

/**
 * Installs the engines that a test file needs. When that cannot be done on this machine the tests are skipped with
 * the reason on stderr and in their title; in CI (`CI=true`) it is an error instead, unless
 * `WEIR_ALLOW_MISSING_ENGINES=1` says that the machine is known to lack them.
 *
 *     const gate = await requireEngines("triton");
 *     describe.skipIf(gate.skip)(gate.title("the triton driver"), () => { ... });
 */
export async function requireEngines(...names: EngineName[]): Promise<EngineGate> {
  const outcomes = await Promise.all(names.map(installEngine));
  const reasons = outcomes.flatMap((outcome) => (outcome.kind === "missing" ? [outcome.reason] : []));
  if (reasons.length === 0) return { skip: false, title: (title) => title };

  const reason = reasons.join("; ");
  if (isSet("CI") && !isSet("WEIR_ALLOW_MISSING_ENGINES")) {
    throw new Error(`${reason}. Real engines are part of CI; WEIR_ALLOW_MISSING_ENGINES=1 allows a machine without.`);
  }
  process.stderr.write(`\n!!! SKIPPED, real engines are missing: ${reason}\n\n`);
  return { skip: true, title: (title) => `${title} [SKIPPED: ${reason}]` };
}

function isSet(variable: string): boolean {
  const value = process.env[variable];
  return value !== undefined && value !== "" && value !== "0" && value !== "false";
}
