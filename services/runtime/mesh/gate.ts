import type { Message } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { Clock } from "../clock.ts";
import { fail, type WeirError, weirErrorFrom } from "../errors/fail.ts";
import type { Identity } from "../identity/identity.ts";
import type { ProjectOwners } from "../identity/project-owners.ts";
import { permitted } from "../policy/permission.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { MethodEntry } from "./descriptor.ts";
import { createOutcomes } from "./outcome.ts";
import { confirmOwner, prepare, unknownMethod } from "./prepare.ts";
import { nothingToCancel } from "./pump.ts";
import type { Cancel, Sink } from "./push.ts";
import { PushRun } from "./push-run.ts";
import { type CallOrigin, RunningCall } from "./running-call.ts";
import { runUnary } from "./unary-run.ts";

/** What the gate stands on. */
export interface GateOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly identity: Identity;
  readonly owners: ProjectOwners;
}

/**
 * What stands before every handler on every transport. A call is admitted by what is known before its request (policy,
 * principal, permission), then run with it (scope, validation, deadline, handler); how it ended is counted, audited and
 * told to its caller in terms of the contract.
 */
export interface Gate {
  /** Judges a caller. A refusal is a value, and has been counted. */
  admit(entry: MethodEntry, origin: CallOrigin): RunningCall | WeirError;
  /** Counts a refusal that a transport found before it could ask the gate. */
  refuse(entry: MethodEntry, error: WeirError): WeirError;
  /** Runs a unary handler. It settles when the call is stopped, whether or not the handler does. */
  unary(call: RunningCall, request: Message): Promise<Message>;
  /** Runs a server-streaming handler; nothing in it waits unless the handler does. */
  push(call: RunningCall, request: Message, sink: Sink<Message>): Cancel;
}

/** Builds the gate of a process. */
export function createGate(options: GateOptions): Gate {
  const { clock, identity, owners } = options;
  const outcomes = createOutcomes(options);

  const watchKey = (call: RunningCall) => {
    const keyId = call.principal?.keyId;
    return keyId ? (stop: (error: WeirError) => void) => identity.onRevoked(keyId, stop) : undefined;
  };

  const unary = { outcomes, owners, watchKey };

  return {
    admit(entry, origin) {
      const policy = entry.policy;
      if (policy === undefined)
        return outcomes.refuse(entry, fail(ErrorReason.METHOD_UNDECLARED, { method: entry.name }));
      const { principal } = origin;
      if (principal && !Object.isFrozen(principal)) freeze(principal);
      if (policy.permission) {
        if (principal === undefined) return outcomes.refuse(entry, fail(ErrorReason.CREDENTIAL_MISSING));
        if (!permitted(principal, policy.permission)) {
          return outcomes.refuse(entry, fail(ErrorReason.PERMISSION_DENIED, { permission: policy.permission }));
        }
      }
      return new RunningCall(entry, policy, origin, clock);
    },

    refuse: (entry, error) => outcomes.refuse(entry, error),

    unary: (call, request) => runUnary(call, request, unary),

    push(call, request, sink) {
      const run = new PushRun(call, sink, outcomes);
      const { handler } = call.entry;
      if (handler?.kind !== "server_streaming") {
        run.fail(unknownMethod(call));
        return nothingToCancel;
      }
      const refusal = prepare(call, request) ?? call.arm((error) => run.stop(error), watchKey(call));
      if (refusal) {
        run.fail(refusal);
        return nothingToCancel;
      }
      if (call.over) return nothingToCancel;
      const start = () => run.start(handler.run, request);
      const asked = confirmOwner(call, owners);
      if (asked === undefined) {
        start();
      } else {
        asked.then(
          (foreign) => {
            if (foreign) run.fail(foreign);
            else if (!call.over) start();
          },
          (thrown: unknown) => run.fail(weirErrorFrom(thrown)),
        );
      }
      return (reason) => run.leave(reason);
    },
  };
}

/** A principal is shared by everything that runs on its behalf. */
function freeze(principal: Principal): void {
  Object.freeze(principal.permissions);
  Object.freeze(principal.models?.names);
  Object.freeze(principal.models);
  Object.freeze(principal);
}
