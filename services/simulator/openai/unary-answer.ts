import type { ServerResponse } from "node:http";
import type { Engine, JobSink, Running } from "../engine.ts";
import { failureFrom } from "./failure.ts";
import type { Manners } from "./manners.ts";
import type { UnaryAsked } from "./unary-request.ts";

/**
 * Runs a request that has one answer on the engine, which reads its text and then says one token that nobody hears.
 * Returns what ends it early.
 */
export function answerOnce(
  engine: Engine,
  asked: UnaryAsked,
  id: string,
  response: ServerResponse,
  manners: Manners,
  crash: () => void,
): Running {
  const body = () => Buffer.from(JSON.stringify(asked.answer()));
  const head = (status: number, bytes: Buffer) =>
    response.writeHead(status, { "content-type": "application/json", "content-length": bytes.length });
  const sink: JobSink = {
    token: () => undefined,
    step: () => undefined,
    done() {
      const bytes = body();
      head(200, bytes);
      response.end(bytes);
    },
    failed(fault) {
      if (fault.kind === "crash") return crash();
      if (fault.kind === "cut" || fault.kind === "early_end") {
        // It dies in the middle of its answer.
        const bytes = body();
        head(200, bytes);
        response.write(bytes.subarray(0, bytes.length >> 1), () => response.socket?.resetAndDestroy());
        return;
      }
      const failure = failureFrom(fault);
      const bytes = Buffer.from(JSON.stringify(manners.errorBody(failure)));
      head(failure.status, bytes);
      response.end(bytes);
    },
  };
  const job = {
    id,
    model: asked.model,
    prompt: asked.prompt,
    seed: 0n,
    maxTokens: 1,
    minTokens: 0,
    ignoreEos: false,
    choices: 1,
    saying: ".",
    cacheSalt: "",
  };
  return engine.run(job, sink);
}
