import type { Message } from "@bufbuild/protobuf";
import { type WeirError, weirErrorFrom } from "../errors/fail.ts";
import { handedOver } from "./copy.ts";
import type { Outcomes } from "./outcome.ts";
import type { ProjectOwners } from "../identity/project-owners.ts";
import { confirmOwner, prepare, unknownMethod } from "./prepare.ts";
import type { RunningCall } from "./running-call.ts";

/** What a unary call needs beside its handler. */
export interface UnaryRunOptions {
  readonly outcomes: Outcomes;
  readonly owners: ProjectOwners;
  /** How to hear that the caller's key is revoked; see {@link RunningCall.arm}. */
  watchKey(call: RunningCall): Parameters<RunningCall["arm"]>[1];
}

/** Runs a unary handler, racing it with what may stop the call: a handler that stalls keeps nobody waiting. */
export function runUnary(call: RunningCall, request: Message, options: UnaryRunOptions): Promise<Message> {
  const { outcomes, owners } = options;
  const { handler, method } = call.entry;
  return new Promise((resolve, reject) => {
    const failed = (error: WeirError): void => {
      if (!call.over) reject(outcomes.fail(call, error));
    };
    if (handler?.kind !== "unary") {
      failed(unknownMethod(call));
      return;
    }
    const stop = (error: WeirError): void => {
      failed(error);
      call.abort(error);
    };
    const refusal = prepare(call, request) ?? call.arm(stop, options.watchKey(call));
    if (refusal) {
      failed(refusal);
      return;
    }
    const run = async (): Promise<void> => {
      const foreign = await confirmOwner(call, owners);
      if (foreign) throw foreign;
      if (call.over) return;
      const answer = handedOver(method.output, await handler.run(request, call), call.origin.trusted);
      if (call.over) return;
      outcomes.succeed(call);
      resolve(answer);
    };
    run().catch((thrown: unknown) => failed(weirErrorFrom(thrown)));
  });
}
