import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type {
  CountTokensRequest,
  CountTokensResponse,
  EmbedRequest,
  EmbedResponse,
  RerankRequest,
  RerankResponse,
} from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { fail, weirErrorFrom } from "../../runtime/errors/fail.ts";
import type { CallContext } from "../../runtime/mesh/context.ts";
import { Roster } from "../../runtime/roster.ts";
import type { GenerationDeps } from "../generation-deps.ts";
import { type Stoppable, stopAll } from "../stop-all.ts";
import { countingTokens } from "./count-tokens.ts";
import { embedding } from "./embed.ts";
import type { UnaryOperation } from "./operation.ts";
import { ranking } from "./rerank.ts";
import { UnaryRun } from "./run.ts";

type Handler<Q, R> = (request: Q, context: CallContext) => Promise<R>;

/** Runs requests that have one answer, and can end those that run. */
export interface Unaries {
  readonly embed: Handler<EmbedRequest, EmbedResponse>;
  readonly rerank: Handler<RerankRequest, RerankResponse>;
  readonly countTokens: Handler<CountTokensRequest, CountTokensResponse>;
  /** Tells every running one that the gateway stops. */
  stopAll(): void;
}

/** Builds the handlers of `Embed`, `Rerank` and `CountTokens`. */
export function createUnaries(deps: GenerationDeps): Unaries {
  const running = new Roster<Stoppable>();

  function handler<Q extends { readonly model: string }, A, R>(operation: UnaryOperation<Q, A, R>): Handler<Q, R> {
    return (request, context) =>
      new Promise((resolve, reject) => {
        const { principal, signal } = context;
        if (!principal) return reject(fail(ErrorReason.CREDENTIAL_MISSING));
        let answer: R | undefined;
        const sink = {
          resume: undefined,
          event: (response: R) => void (answer = response),
          turn: () => undefined,
          full: () => false,
          end: () => (answer === undefined ? reject(fail(ErrorReason.INTERNAL)) : resolve(answer)),
          fail: reject,
        };
        const { life } = new UnaryRun(deps, operation, request, context, principal, sink, (ended) => {
          signal.removeEventListener("abort", onAbort);
          running.delete(ended);
        });
        const onAbort = () => {
          const reason = weirErrorFrom(signal.reason);
          life.cancel(reason);
          reject(reason);
        };
        running.add(life);
        signal.addEventListener("abort", onAbort, { once: true });
        if (signal.aborted) onAbort();
        else life.start();
      });
  }

  return {
    embed: handler(embedding),
    rerank: handler(ranking),
    countTokens: handler(countingTokens(deps.renderer, deps.tokenizers)),
    stopAll: () => stopAll(running),
  };
}
