import type { Reporter, SerializedError, TestCase, TestModule } from "vitest/node";

/**
 * Ends a test run with one plain line, `N passed, N failed`, or `N passed, N failed, N skipped` after a list of what was
 * skipped and why. A file that cannot be loaded, an error outside every test and a run without tests count as failures.
 */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const outcome = countOutcome(modules, unhandled.length);
    if (outcome.failed > 0) process.exitCode = 1;
    process.stdout.write(`${outcomeLines(outcome).join("\n")}\n`);
  }
}

type Outcome = { readonly passed: number; readonly failed: number; readonly skipped: readonly string[] };

function countOutcome(modules: readonly TestModule[], unhandled: number): Outcome {
  const skipped: string[] = [];
  let passed = 0;
  let failed = unhandled;
  for (const module of modules) {
    failed += module.errors().length;
    for (const suite of module.children.allSuites()) failed += suite.errors().length;
    for (const test of module.children.allTests()) {
      const result = test.result();
      if (result.state === "passed") passed += 1;
      else if (result.state === "skipped") skipped.push(skipLine(test, result.note));
      // A test that never ended is as bad as one that failed.
      else failed += 1;
    }
  }
  if (passed + failed + skipped.length === 0) failed = 1;
  return { passed, failed, skipped };
}

function skipLine(test: TestCase, note: string | undefined): string {
  const reason = note ?? (test.options.mode === "todo" ? "not written" : "no reason given");
  return `SKIPPED: ${test.module.relativeModuleId} > ${test.fullName}: ${reason}`;
}

function outcomeLines({ passed, failed, skipped }: Outcome): string[] {
  const line = `${passed} passed, ${failed} failed`;
  return skipped.length === 0 ? ["", line] : ["", ...skipped, "", `${line}, ${skipped.length} skipped`];
}
