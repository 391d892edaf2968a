import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { Rostered } from "../runtime/roster.ts";

/** A request that runs. */
export interface Stoppable extends Rostered {
  stop(reason: WeirError): void;
}

/** Tells requests that the gateway stops. */
export function stopAll(running: Iterable<Stoppable>): void {
  const reason = fail(ErrorReason.DRAINING, { retry_after_ms: "1000" }, { retryAfterMs: 1_000 });
  for (const one of running) one.stop(reason);
}
