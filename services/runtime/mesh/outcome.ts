import { codeToString } from "@connectrpc/connect/protocol-connect";
import type { Logger } from "pino";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { ScopeKindSchema } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";
import type { Clock } from "../clock.ts";
import { fail, type WeirError } from "../errors/fail.ts";
import { reasonName } from "../errors/reason-name.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { MethodEntry } from "./descriptor.ts";
import type { RunningCall } from "./running-call.ts";

/** What is done once for every call when it is over. */
export interface Outcomes {
  /** The call ended well. */
  succeed(call: RunningCall): void;
  /** The call failed. Returns the error as its caller may see it: without the cause, which is logged if it is a defect. */
  fail(call: RunningCall, error: WeirError): WeirError;
  /** Counts a call that was not admitted. */
  refuse(entry: MethodEntry, error: WeirError): WeirError;
}

/** Counts, audits and logs how calls end. */
export function createOutcomes(options: {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}): Outcomes {
  const { clock, log, metrics } = options;

  const presentable = (call: RunningCall, error: WeirError): WeirError => {
    const { reason, facts, retryAfterMs, cause } = error;
    // A defect that passes several gates is logged at the first, which gives it the request's id.
    const defect = reason === ErrorReason.INTERNAL && !facts["request_id"];
    if (defect)
      log.error({ err: cause, method: call.entry.name, request_id: call.requestId }, "call failed unexpectedly");
    else if (cause === undefined) return error;
    return fail(
      reason,
      defect ? { ...facts, request_id: call.requestId } : facts,
      retryAfterMs === undefined ? {} : { retryAfterMs },
    );
  };

  const over = (call: RunningCall, error: WeirError | undefined): void => {
    call.disarm();
    metrics.rpc(call.entry.name, error ? codeToString(error.code) : "ok", clock.monotonicMs() - call.startMs);
    if (call.policy.audit) log.info(auditEntry(call, error), "audit");
  };

  return {
    succeed: (call) => over(call, undefined),
    fail(call, error) {
      const told = presentable(call, error);
      over(call, told);
      return told;
    },
    refuse(entry, error) {
      metrics.rpc(entry.name, codeToString(error.code), 0);
      return error;
    },
  };
}

/** Who did what to whose resource, and how it ended; nothing of what was said. */
function auditEntry(call: RunningCall, error: WeirError | undefined): object {
  return {
    method: call.entry.name,
    request_id: call.requestId,
    key_id: call.principal?.keyId,
    org_id: call.principal?.orgId,
    project_id: call.principal?.projectId,
    scope: { kind: ScopeKindSchema.value[call.scope.kind]?.localName, id: call.scope.id },
    outcome: error ? reasonName(error.reason) : "OK",
  };
}
