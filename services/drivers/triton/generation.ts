import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Cancel } from "../../runtime/mesh/push.ts";
import { promptOf, unsupported } from "../capabilities.ts";
import type { Attempt, AttemptSink, Target } from "../driver.ts";
import { GenerationCall } from "../grpc/call.ts";
import type { Channel } from "../grpc/channel.ts";
import { type Flavour, isStreamable, type TritonInterface } from "./flavour.ts";
import { TritonListener } from "./listener.ts";
import { Reader } from "./reader.ts";
import type { BuiltRequest, Wanted } from "./request.ts";
import { llmapiRequest } from "./request-llmapi.ts";
import { tensorrtRequest } from "./request-tensorrt.ts";
import { vllmRequest } from "./request-vllm.ts";
import { modelInfer, modelStreamInfer } from "./rpcs.ts";
import { countTokens } from "./token-count.ts";

const builders: Readonly<Record<Flavour, (wanted: Wanted) => BuiltRequest>> = {
  ensemble: tensorrtRequest,
  bls: tensorrtRequest,
  llmapi: llmapiRequest,
  vllm: vllmRequest,
};

/** Inputs that tell a model to leave the prompt out of its text. */
const exclusions = ["exclude_input_in_output", "sampling_param_exclude_input_from_output"];

/**
 * Runs one attempt.
 *
 * The id is done at its final flag, its first error, or the end of the call, whichever comes first; an end without either
 * of the others is a truncated answer. A response with another id belongs to nobody and is dropped.
 */
export function startGeneration(
  channel: Channel,
  target: Target,
  model: TritonInterface,
  attempt: Attempt,
  sink: AttemptSink,
): Cancel {
  const prompt = promptOf(attempt);
  const streams = isStreamable(model) && (attempt.request.stream || comesLong(attempt.request));
  const built = builders[model.flavour]({ attempt, model, prompt, stream: streams });
  if (built.kind === "unsupported") throw unsupported(attempt, built.param);

  const stops = attempt.model.features.includes(Feature.CANCEL);
  const call = new GenerationCall({ channel, target, attempt, sink, streams, ignored: built.ignored, stops });
  const counts = !streams && model.counter !== "";
  let asked = 0;
  const reader = new Reader({
    model,
    outlet: call.answer,
    stops: attempt.request.sampling?.stop ?? [],
    prompt: exclusions.some((name) => name in model.inputs) ? "" : prompt,
    maxTokens: built.maxTokens,
    count: counts ? (text) => countTokens(channel, model, `${attempt.id}-${asked++}`, text) : undefined,
    topLogprobs: attempt.request.logprobs?.top ?? 0,
  });
  const listener = new TritonListener({ channel, target, stopModel: model.stopModel }, attempt.id, call.answer, reader);
  call.start(model.decoupled ? modelStreamInfer() : modelInfer(), built.request, listener);
  return () => call.answer.cancel();
}

/** Log probabilities of 4,096 tokens are 7 MB of JSON: they are read as they come. */
function comesLong({ logprobs }: GenerateRequest): boolean {
  return logprobs !== undefined;
}
