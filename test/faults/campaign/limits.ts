import type { JsonObject } from "@bufbuild/protobuf";
import { seededRandom } from "../../fakes/seeded-random.ts";
import type { ControlCalls, Standing } from "./control-calls.ts";
import type { ClientKey } from "./load.ts";
import type { Limited } from "./truth.ts";

/** Keys with a limit each, and the limits. */
export interface LimitedKeys {
  readonly keys: readonly ClientKey[];
  readonly limits: readonly Limited[];
}

const kinds = ["requests", "tokens", "concurrency"] as const;
const failures = ["closed", "local", "open"] as const;
/** A rate so slow that what refills in a campaign is little, and known. */
const dayMs = 86_400_000;
/** More than all clients use in a campaign: it only counts. */
const wholeProject = 1_000_000_000;

/** For rounds that end soon: limits that are reached sooner. */
const soon = { requests: [2, 6], tokens: [250, 400] } as const;
const late = { requests: [5, 20], tokens: [600, 1_600] } as const;

/**
 * Makes a key with a limit of each kind and each `on_failure`: so small that it is reached in a round, with so many clients
 * that it matters. They are new for each round, so that every round meets limits that are not used up. Limits on requests
 * are rates, those on tokens budgets, of a day that began six hours ago: neither begins anew in a campaign.
 */
export async function makeLimitedKeys(
  calls: ControlCalls,
  projectId: string,
  { seed, isShort }: { readonly seed: number; readonly isShort: boolean },
): Promise<LimitedKeys> {
  const random = seededRandom(seed);
  const { requests, tokens } = isShort ? soon : late;
  const between = ([least, most]: readonly [number, number]) => least + random.below(most - least + 1);
  const keys: ClientKey[] = [];
  const limits: Limited[] = [];
  // Every other time one is large enough that a node is lent a part of it.
  const atOnce = seed % 2 === 0 ? 2 : 4;
  for (const of of kinds) {
    for (const onFailure of failures) {
      const count = { requests: between(requests), tokens: between(tokens), concurrency: atOnce }[of];
      const clients = of === "concurrency" ? count + 1 : 2;
      const key = await calls.createKey(projectId);
      const sinceMs = Date.now();
      const subject = { kind: "SUBJECT_KIND_KEY", id: key.keyId };
      const limitId = await calls.createLimit({ subject, ...specOf(of, onFailure, count) });
      const refillMs = of === "requests" ? dayMs : Number.POSITIVE_INFINITY;
      keys.push({ ...key, clients, limited: true });
      limits.push({ limitId, of, onFailure, keyId: key.keyId, projectId, count, refillMs, sinceMs });
    }
  }
  return { keys, limits };
}

/** Makes a project with a limit that counts the tokens of all its keys together, and never refuses. */
export async function makeLimitedProject(calls: ControlCalls, projectId: string): Promise<Limited> {
  await calls.createProject(projectId);
  const sinceMs = Date.now();
  const of = "tokens";
  const onFailure = "open";
  const subject = { kind: "SUBJECT_KIND_PROJECT", id: projectId };
  const limitId = await calls.createLimit({ subject, ...specOf(of, onFailure, wholeProject) });
  const refillMs = Number.POSITIVE_INFINITY;
  return { limitId, of, onFailure, projectId, count: wholeProject, refillMs, sinceMs };
}

function specOf(of: Limited["of"], onFailure: Limited["onFailure"], count: number): JsonObject {
  const shared = {
    name: `${of}, ${onFailure}`,
    count: String(count),
    onFailure: `ON_FAILURE_${onFailure.toUpperCase()}`,
  };
  switch (of) {
    case "requests":
      return { ...shared, dimension: "DIMENSION_REQUESTS", rate: { per: `${dayMs / 1_000}s` } };
    case "tokens":
      return {
        ...shared,
        dimension: "DIMENSION_TOTAL_TOKENS",
        budget: { period: "CALENDAR_PERIOD_DAY", timeZone: zoneOfMorning() },
      };
    case "concurrency":
      return { ...shared, dimension: "DIMENSION_CONCURRENT_REQUESTS" };
  }
}

/** One where it is six in the morning. */
function zoneOfMorning(): string {
  const ahead = (6 - new Date().getUTCHours() + 24) % 24;
  const offset = ahead > 12 ? ahead - 24 : ahead;
  // Their sign is the other way round: Etc/GMT-3 is three hours ahead.
  return offset === 0 ? "Etc/GMT" : `Etc/GMT${offset > 0 ? "-" : "+"}${Math.abs(offset)}`;
}

/** How all these limits stand, by their ids. */
export async function standingsOf(
  calls: ControlCalls,
  limits: readonly Limited[],
): Promise<ReadonlyMap<string, Standing>> {
  const all = new Map<string, Standing>();
  const asked = new Set<string>();
  for (const { limitId, keyId = "", projectId } of limits) {
    // A key's answer has its project's limits too.
    if (all.has(limitId) || asked.has(keyId)) continue;
    asked.add(keyId);
    for (const [id, standing] of await calls.standings(projectId, keyId)) all.set(id, standing);
  }
  return all;
}
