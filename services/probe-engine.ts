import type { Credential } from "./drivers/credential.ts";
import type { Target } from "./drivers/driver.ts";
import { detectDialect, openDriver } from "./drivers/registry.ts";
import { engineReport } from "./engine-report.ts";
import { type Clock, sleep } from "./runtime/clock.ts";
import { defaults } from "./runtime/config/defaults.ts";
import { ErrorReason } from "../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError, weirErrorFrom } from "./runtime/errors/fail.ts";

/** A server that a person asks about may be slower than one that is probed all the time. */
const timeoutMs = 10_000;

/** What went wrong, in terms of what whoever asks can do about it. */
export function problemOf({ reason, facts, rawMessage }: WeirError): string {
  switch (reason) {
    case ErrorReason.ENGINE_UNAVAILABLE:
      return "nothing answers there. Is the engine up, is the port right, and can this machine reach it?";
    case ErrorReason.ENGINE_TIMEOUT:
      return `no answer within ${timeoutMs / 1_000} s. Is this the engine's port?`;
    case ErrorReason.ENGINE_CREDENTIAL:
      return "it refuses the credential, or wants one: --engine-key-file FILE, and --engine-key-header NAME if it has a name of its own for it";
    default:
      return facts["problem"] ?? rawMessage;
  }
}

/** An engine as one question reaches it. */
export function targetOf(url: string, credential: Credential | undefined, clock: Clock): Target {
  return {
    url,
    httpUrl: undefined,
    engineKey: credential?.engineKey,
    engineKeyHeader: credential?.engineKeyHeader,
    receiveBytesMax: defaults.pool.receiveBytesMax,
    firstEventMs: defaults.pool.firstEventTimeoutMs,
    idleMs: defaults.pool.idleTimeoutMs,
    toolIdleMs: defaults.pool.toolIdleTimeoutMs,
    totalMs: defaults.pool.totalTimeoutMs,
    clock,
  };
}

/** What was found out about an engine. */
export type EngineProbe =
  | { readonly kind: "found"; readonly report: string }
  | { readonly kind: "failed"; readonly problem: string };

/**
 * Asks the server at a URL what it speaks and has, once.
 *
 * @param credential what it wants; undefined: nothing.
 */
export async function probeEngine(url: string, credential: Credential | undefined, clock: Clock): Promise<EngineProbe> {
  const target = targetOf(url, credential, clock);
  const timeout = new AbortController();
  const late = sleep(clock, timeoutMs, timeout.signal).then((passed) => {
    if (passed) throw fail(ErrorReason.ENGINE_TIMEOUT, { phase: "probe", waited_ms: String(timeoutMs) });
    return undefined;
  });
  try {
    const asked = async () => {
      const dialect = await detectDialect(target, timeout.signal);
      await using driver = openDriver(dialect, target);
      return engineReport(url, dialect, await driver.probe(timeout.signal));
    };
    const report = await Promise.race([asked(), late]);
    return { kind: "found", report: report ?? "" };
  } catch (thrown) {
    return { kind: "failed", problem: `${url}: ${problemOf(weirErrorFrom(thrown))}` };
  } finally {
    timeout.abort();
  }
}
