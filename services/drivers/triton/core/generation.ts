import type { Cancel } from "../../../runtime/mesh/push.ts";
import { missingCapability, unsupported } from "../../capabilities.ts";
import type { Attempt, AttemptSink, Target } from "../../driver.ts";
import { GenerationCall } from "../../grpc/call.ts";
import type { Channel } from "../../grpc/channel.ts";
import { TritonListener } from "../listener.ts";
import { modelInfer, modelStreamInfer } from "../rpcs.ts";
import { type CoreInterface, coreStreams } from "./interface.ts";
import { CoreReader } from "./reader.ts";
import { coreRequest } from "./request.ts";

/** Runs one attempt at a core model: the ids of the prompt go in, and the ids that come out are made text here. */
export function startCoreGeneration(
  channel: Channel,
  target: Target,
  model: CoreInterface,
  attempt: Attempt,
  sink: AttemptSink,
): Cancel {
  const { tokens, extras, request } = attempt;
  const missing = missingCapability(attempt);
  if (missing) throw missing;
  if (!tokens) throw unsupported(attempt, request.input.case === "conversation" ? "messages" : "prompt", "text");
  const { ids, vocabulary } = tokens;
  const streams = request.stream && coreStreams(model);
  const built = coreRequest({ attempt, model, ids, vocabulary, stream: streams });
  if (built.kind === "unsupported") throw unsupported(attempt, built.param);

  const call = new GenerationCall({ channel, target, attempt, sink, streams, ignored: built.ignored });
  const repeats = !streams && !("exclude_input_in_output" in model.inputs);
  const reader = new CoreReader({
    outlet: call.answer,
    vocabulary,
    stops: request.sampling?.stop ?? [],
    stopTokenIds: request.sampling?.stopTokenIds ?? [],
    promptTokens: ids.length,
    prompt: repeats ? ids : ids.subarray(0, 0),
    maxTokens: built.maxTokens,
    showsSpecial: extras["skip_special_tokens"] === false,
    tellsIds: extras["return_token_ids"] === true,
  });
  const listener = new TritonListener({ channel, target, stopModel: model.stopModel }, attempt.id, call.answer, reader);
  call.start(model.decoupled ? modelStreamInfer() : modelInfer(), built.request, listener);
  return () => call.answer.cancel();
}
