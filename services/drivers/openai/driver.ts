import { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Cancel, Sink } from "../../runtime/mesh/push.ts";
import { Answer } from "../answer.ts";
import { missingCapability, unsupported } from "../capabilities.ts";
import type { Attempt, Target } from "../driver.ts";
import { requestWithBody } from "../http1/request.ts";
import type { Connection } from "../http/connection.ts";
import { httpDriver } from "../http/driver.ts";
import { Exchange } from "../http/exchange.ts";
import { openaiConnection } from "./azure.ts";
import { ChunkReader } from "./chunk.ts";
import { failureFromResponse } from "./errors.ts";
import { flavourNamed } from "./flavours.ts";
import { isOpenAi, probeOpenAi } from "./probe.ts";
import { buildRequest } from "./request.ts";
import { openaiUnary } from "./unary.ts";

/** vLLM, SGLang, llama.cpp, Ollama, and what else serves OpenAI's HTTP paths. */
export const openaiDriver = httpDriver({
  dialect: Dialect.OPENAI,
  connect: openaiConnection,
  detect: isOpenAi,
  probeOf: (connection) => (signal) => probeOpenAi(connection, signal),
  generate: startExchange,
  unaryOf: openaiUnary,
});

function startExchange(connection: Connection, target: Target, attempt: Attempt, sink: Sink<GenerateResponse>): Cancel {
  const flavour = flavourNamed(attempt.model.flavour);
  const missing = missingCapability(attempt);
  if (missing) throw missing;
  const built = buildRequest(attempt, flavour);
  if (built.kind === "unsupported") throw unsupported(attempt, built.param);

  let answer: Answer | undefined;
  const exchange = new Exchange(target, (engine) => {
    const side = new Answer({ attempt, target, sink, engine, streams: built.stream, ignored: built.ignored });
    const { usageCountsChoices, continuousUsage } = flavour;
    const usageIsOfChunk = continuousUsage || !built.stream;
    const reader = new ChunkReader(side, { usageCountsChoices, usageIsOfChunk });
    answer = side;
    return {
      answer: side,
      read: (json, _head, name) => reader.read(name === "error" ? { error: json } : json),
      refused: (head, body) => failureFromResponse(head, body, target.clock.nowMs()),
    };
  });
  const head = connection.post(built.path, built.stream ? "text/event-stream" : "application/json");
  exchange.send(connection.http, requestWithBody(head, attempt.id, JSON.stringify(built.body)));
  return () => answer?.cancel();
}
