import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // A file gets a process of its own: a leaked socket or timer belongs to one file, and a kill -9 test harms no other.
    pool: "forks",
    globalSetup: ["test/global-setup.ts"],
    // Real servers start inside hooks, on machines that are busy with other files.
    hookTimeout: 120_000,
    testTimeout: 30_000,
    teardownTimeout: 30_000,
    // A test that passes only at the second try tells of a race.
    retry: 0,
    reporters: ["default", "./scripts/summary-reporter.ts"],
    passWithNoTests: false,
  },
});
