import { describe, expect, test } from "vitest";
import { createIdSource, type IdSource } from "../../services/runtime/ids.ts";
import type { QuotaStore } from "../../services/quota/store.ts";
import { QuotaHistory } from "../fakes/quota-history.ts";
import { limitOf } from "../fakes/quota-messages.ts";
import { seededRandom } from "../fakes/seeded-random.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";

const day = { budget: { period: "CALENDAR_PERIOD_DAY" } };
const kinds = {
  "a rate of requests": [{ dimension: "DIMENSION_REQUESTS", count: "40", rate: { per: "60s" } }],
  "a rate of tokens with a burst": [
    { dimension: "DIMENSION_TOTAL_TOKENS", count: "7001", rate: { per: "59.999999999s", burst: "3000" } },
  ],
  "a rate of tokens that cuts": [
    { dimension: "DIMENSION_OUTPUT_TOKENS", count: "900", rate: { per: "60s" }, overrun: "OVERRUN_CUT" },
  ],
  "requests at once": [{ dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "12" }],
  "a few requests at once": [{ dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "3" }],
  "a budget of tokens": [{ dimension: "DIMENSION_TOTAL_TOKENS", count: "60000", ...day }],
  "a budget of tokens that is owed": [
    { dimension: "DIMENSION_INPUT_TOKENS", count: "900", overrun: "OVERRUN_DEBT", ...day },
  ],
  "one that only looks": [
    { dimension: "DIMENSION_TOTAL_TOKENS", count: "500", rate: { per: "60s" }, mode: "LIMIT_MODE_SHADOW" },
  ],
  "none allowed": [{ dimension: "DIMENSION_REQUESTS", count: "0", rate: { per: "60s" } }],
  "five limits together": [
    { dimension: "DIMENSION_REQUESTS", count: "60", rate: { per: "60s" } },
    { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "20" },
    { dimension: "DIMENSION_TOTAL_TOKENS", count: "20000", rate: { per: "60s" } },
    { dimension: "DIMENSION_OUTPUT_TOKENS", count: "90000", ...day },
    { dimension: "DIMENSION_INPUT_TOKENS", count: "100", rate: { per: "60s" }, mode: "LIMIT_MODE_SHADOW" },
  ],
};

/** Histories a kind of limit; more of them by the variable QUOTA_HISTORIES. */
const seeds = Number(process.env["QUOTA_HISTORIES"] ?? 12);

/** What a store is opened with. */
export interface Around {
  readonly clock: SimulatedClock;
  readonly ids: IdSource;
}

/** What every store of counts has to hold to. */
export function quotaStoreSuite(name: string, open: (around: Around) => Promise<QuotaStore>): void {
  function around(seed: number): Around & { readonly random: ReturnType<typeof seededRandom> } {
    // Some minutes before midnight, so that histories cross it.
    const clock = new SimulatedClock(Date.UTC(2026, 2, 31, 23, 50));
    const random = seededRandom(seed);
    const randomBytes = (length: number) => Buffer.from(Array.from({ length }, () => random.below(256)));
    return { clock, random, ids: createIdSource({ clock, randomBytes }) };
  }

  describe(`${name}: random histories, held against a reference`, () => {
    test.each(Object.entries(kinds))("%s", async (_kind, specs) => {
      const seen = new Map<string, number>();
      for (let seed = 1; seed <= seeds; seed++) {
        const one = around(seed);
        const limits = specs.map((spec, index) => limitOf(`limit-${index}`, spec));
        const history = new QuotaHistory(await open(one), limits, one);
        for (let step = 0; step < 250; step++) {
          await history.step().catch((error: unknown) => {
            throw new Error(`seed ${seed}, step ${step}: ${error instanceof Error ? error.message : String(error)}`, {
              cause: error,
            });
          });
        }
        for (const [what, times] of history.counts) seen.set(what, (seen.get(what) ?? 0) + times);
      }
      expect(seen.get("sent again")).toBeGreaterThan(1_000);
    });
  });
}
