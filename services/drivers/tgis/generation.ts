import {
  BatchedGenerationRequestSchema,
  GenerationService,
  SingleGenerationRequestSchema,
} from "../../../gen/ts/engine/tgis/generation_pb.ts";
import type { Cancel } from "../../runtime/mesh/push.ts";
import { promptOf, unsupported } from "../capabilities.ts";
import type { Attempt, AttemptSink, Target } from "../driver.ts";
import { GenerationCall } from "../grpc/call.ts";
import type { Channel, Rpc } from "../grpc/channel.ts";
import { serializer } from "../../runtime/grpc-wire.ts";
import { decodeBatch, decodeGeneration } from "./codec.ts";
import type { TgisInterface } from "./interface.ts";
import { TgisListener } from "./reader.ts";
import { buildParameters } from "./request.ts";

const service = `/${GenerationService.typeName}`;
const generate = {
  path: `${service}/Generate`,
  write: serializer(BatchedGenerationRequestSchema),
  read: decodeBatch,
} satisfies Rpc<never, unknown>;
const generateStream = {
  path: `${service}/GenerateStream`,
  write: serializer(SingleGenerationRequestSchema),
  read: decodeGeneration,
} satisfies Rpc<never, unknown>;

/** Runs one attempt. Its id is the request's in the engine, which takes an id only once at a time. */
export function startGeneration(
  channel: Channel,
  target: Target,
  model: TgisInterface,
  attempt: Attempt,
  sink: AttemptSink,
): Cancel {
  const { request } = attempt;
  const text = promptOf(attempt);
  const built = buildParameters(attempt, model);
  if (built.kind === "unsupported") throw unsupported(attempt, built.param, built.feature);

  const { parameters: params, ignored } = built;
  const call = new GenerationCall({ channel, target, attempt, sink, streams: request.stream, ignored });
  const pieces = request.logprobs ? model.pieces : undefined;
  const listener = new TgisListener(call.answer, request.sampling?.stop ?? [], pieces);
  const modelId = attempt.model.engineModel;
  const headers = { "x-correlation-id": attempt.id };
  if (request.stream) call.start(generateStream, { modelId, request: { text }, params }, listener, headers);
  else call.start(generate, { modelId, requests: [{ text }], params }, listener, headers);
  return () => call.answer.cancel();
}
