import { beforeAll, describe, expect, test } from "vitest";
import { aborts, type CancelResult, phases } from "../bench/cancel.ts";
import { quantile } from "../bench/statistics.ts";

// From the client's close to the entry in the engine's own record.
const boundMs = 250;

let result: CancelResult;
beforeAll(async () => {
  // The benches take every engine; these two are the most different ones.
  result = await aborts(1_000, ["OpenAI", "Triton"]);
  // A machine that is busy with other things is measured again and again.
}, 240_000);

describe("1,000 clients that leave", () => {
  test("stop the engine in time, wherever it is with their request", () => {
    for (const phase of phases.filter((each) => each !== "gateway queue")) {
      const rows = result.rows.filter((row) => row.phase === phase);
      expect(rows.reduce((sum, { latencies }) => sum + latencies.length, 0)).toBeGreaterThanOrEqual(250);
    }
    const latencies = result.rows.flatMap((row) => row.latencies);
    expect(quantile(latencies, 0.5)).toBeLessThanOrEqual(boundMs / 5);
    expect(quantile(latencies, 0.99)).toBeLessThanOrEqual(boundMs);
  });

  test("in the gateway's queue never reach the engine", () => {
    const waiting = result.rows.filter(({ phase }) => phase === "gateway queue");
    expect(waiting.reduce((sum, { aborted }) => sum + aborted, 0)).toBeGreaterThanOrEqual(250);
    expect(waiting.map(({ reached }) => reached)).toEqual(waiting.map(() => 0));
  });

  test("leave no generation behind, and none that ended by itself", () => {
    for (const { way, phase, aborted, latencies, orphans, finished } of result.rows) {
      expect([way, phase, orphans, finished]).toEqual([way, phase, 0, 0]);
      if (phase !== "gateway queue") expect([way, phase, latencies.length]).toEqual([way, phase, aborted]);
    }
    expect([result.open, result.inFlight, result.queued]).toEqual([0, 0, 0]);
  });
});
