import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateRequest, GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { fail } from "../runtime/errors/fail.ts";
import type { PushHandler } from "../runtime/mesh/push.ts";
import { Roster } from "../runtime/roster.ts";
import { Generation } from "./generation.ts";
import type { GenerationDeps } from "./generation-deps.ts";
import { stopAll } from "./stop-all.ts";

/** Runs generations, and can end those that run. */
export interface Generations {
  readonly push: PushHandler<GenerateRequest, GenerateResponse>;
  /** Tells every running one that the gateway stops. */
  stopAll(): void;
}

/** Builds the handler of `Generate`: one {@link Generation} a call, which runs without a promise. */
export function createGenerations(deps: GenerationDeps): Generations {
  const running = new Roster<Generation["life"]>();
  const onEnd = (life: Generation["life"]) => running.delete(life);
  return {
    push(request, context, sink) {
      const { principal } = context;
      if (!principal) {
        sink.fail(fail(ErrorReason.CREDENTIAL_MISSING));
        return () => {};
      }
      const { life } = new Generation(deps, request, context, principal, sink, onEnd);
      running.add(life);
      life.start();
      return (reason) => life.cancel(reason);
    },
    stopAll: () => stopAll(running),
  };
}
