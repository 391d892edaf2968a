import { defineConfig } from "vitest/config";

/** The engines of gigabytes, which only the command with their name installs and runs: npm run test:engines -- vllm */
export default defineConfig({
  test: {
    include: ["test/engines/*.engine.ts"],
    pool: "forks",
    // Two of them would not fit a small machine.
    fileParallelism: false,
    globalSetup: ["test/global-setup.ts"],
    // They start in a minute or two on an idle machine.
    hookTimeout: 420_000,
    testTimeout: 120_000,
    reporters: ["default", "./scripts/summary-reporter.ts"],
    passWithNoTests: false,
  },
});
