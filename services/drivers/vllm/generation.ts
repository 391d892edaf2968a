import { GenerateRequestSchema, Inference } from "../../../gen/ts/engine/vllm/inference_pb.ts";
import { serializer } from "../../runtime/grpc-wire.ts";
import type { Cancel } from "../../runtime/mesh/push.ts";
import { missingCapability, promptOf } from "../capabilities.ts";
import type { Attempt, AttemptSink, Target } from "../driver.ts";
import { GenerationCall } from "../grpc/call.ts";
import type { Channel, Rpc } from "../grpc/channel.ts";
import { decodeGeneration } from "./codec.ts";
import type { VllmInterface } from "./interface.ts";
import { VllmListener } from "./reader.ts";
import { buildRequest } from "./request.ts";

const rpcOf = (name: string) =>
  ({
    path: `/${Inference.typeName}/${name}`,
    write: serializer(GenerateRequestSchema),
    read: decodeGeneration,
  }) satisfies Rpc<never, unknown>;

const generate = rpcOf("Generate");
const generateStream = rpcOf("GenerateStream");

/** Runs one attempt over gRPC: a prompt, as text or as token ids. */
export function startGeneration(
  channel: Channel,
  target: Target,
  model: VllmInterface,
  attempt: Attempt,
  sink: AttemptSink,
): Cancel {
  const { request, ignored } = buildRequest(attempt, inputOf(attempt), model);
  const streams = attempt.request.stream;
  const call = new GenerationCall({ channel, target, attempt, sink, streams, ignored });
  call.start(streams ? generateStream : generate, request, new VllmListener(call.answer));
  return () => call.answer.cancel();
}

/** Throws UNSUPPORTED for what the model lacks. */
function inputOf(attempt: Attempt): Parameters<typeof buildRequest>[1] {
  const { input } = attempt.request;
  if (input.case !== "tokenIds") return { case: "text", value: promptOf(attempt) };
  const missing = missingCapability(attempt);
  if (missing) throw missing;
  return { case: "tokenIds", value: { ids: input.value.ids } };
}
