import { defineConfig } from "vitest/config";

/** Those that measure time or memory, or kill processes by the dozen: they have the machine to themselves. */
const alone = [
  "test/faults/{cancel,hostile,kill-campaign,many-streams,postgres-lifecycle}.test.ts",
  "test/engines/*cancel.test.ts",
  "test/e2e/{start,token-ids}.test.ts",
];
/** Those that start many processes and wait, for timers and for one another: beside one of their kind. */
const waiting = [
  "test/faults/**/*.test.ts",
  "test/engines/**/*.test.ts",
  "test/e2e/{limits*,real-engines,usage}.test.ts",
];

export default defineConfig({
  test: {
    // A file gets a process of its own: a leaked socket or timer belongs to one file, and a kill -9 test harms no other.
    pool: "forks",
    globalSetup: ["test/global-setup.ts"],
    // Real servers start inside hooks, on machines that are busy with other files.
    hookTimeout: 120_000,
    testTimeout: 30_000,
    teardownTimeout: 30_000,
    // Processes take seconds to start where others start too.
    expect: { poll: { timeout: 10_000 } },
    // A test that passes only at the second try tells of a race.
    retry: 0,
    reporters: ["default", "./scripts/summary-reporter.ts"],
    passWithNoTests: false,
    projects: [
      {
        extends: true,
        test: {
          name: "beside",
          include: ["test/**/*.test.ts"],
          exclude: [...alone, ...waiting],
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: { name: "waiting", include: waiting, exclude: alone, maxWorkers: 2, sequence: { groupOrder: 1 } },
      },
      { extends: true, test: { name: "alone", include: alone, maxWorkers: 1, sequence: { groupOrder: 2 } } },
    ],
  },
});
