import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Cancel, Sink } from "../../runtime/mesh/push.ts";
import type { Answer } from "../answer.ts";
import { promptOf, unsupported } from "../capabilities.ts";
import type { Attempt, Target } from "../driver.ts";
import { GenerationCall, type Listener } from "../grpc/call.ts";
import type { Channel } from "../grpc/channel.ts";
import type { InferMessage } from "./codec.ts";
import { failureFromText, failureFromTritonStatus } from "./errors.ts";
import { type Flavour, isStreamable, type TritonInterface } from "./flavour.ts";
import { Reader } from "./reader.ts";
import type { BuiltRequest, Wanted } from "./request.ts";
import { llmapiRequest } from "./request-llmapi.ts";
import { tensorrtRequest } from "./request-tensorrt.ts";
import { vllmRequest } from "./request-vllm.ts";
import { modelInfer, modelStreamInfer } from "./rpcs.ts";
import { stopBehindEnsemble } from "./stop-request.ts";

const builders: Readonly<Record<Flavour, (wanted: Wanted) => BuiltRequest>> = {
  ensemble: tensorrtRequest,
  bls: tensorrtRequest,
  llmapi: llmapiRequest,
  vllm: vllmRequest,
};

/** Inputs that tell a model to leave the prompt out of its text. */
const exclusions = ["exclude_input_in_output", "sampling_param_exclude_input_from_output"];

/** What a generation needs beside the attempt. */
interface Surroundings {
  readonly channel: Channel;
  readonly target: Target;
  readonly model: TritonInterface;
}

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
  sink: Sink<GenerateResponse>,
): Cancel {
  const prompt = promptOf(attempt);
  const streams = attempt.request.stream && isStreamable(model);
  const built = builders[model.flavour]({ attempt, model, prompt, stream: streams });
  if (built.kind === "unsupported") throw unsupported(attempt, built.param);

  const stops = attempt.model.features.includes(Feature.CANCEL);
  const call = new GenerationCall({ channel, target, attempt, sink, streams, ignored: built.ignored, stops });
  const reader = new Reader({
    model,
    outlet: call.answer,
    stops: attempt.request.sampling?.stop ?? [],
    prompt: exclusions.some((name) => name in model.inputs) ? "" : prompt,
    maxTokens: built.maxTokens,
  });
  const listener = new TritonListener({ channel, target, model }, attempt.id, call.answer, reader);
  call.start(model.decoupled ? modelStreamInfer : modelInfer, built.request, listener);
  return () => call.answer.cancel();
}

/** Reads the responses of one id. */
class TritonListener implements Listener<InferMessage> {
  readonly #around: Surroundings;
  readonly #id: string;
  readonly #answer: Answer;
  readonly #reader: Reader;
  readonly failureFrom = failureFromTritonStatus;
  #warned = false;

  constructor(around: Surroundings, id: string, answer: Answer, reader: Reader) {
    this.#around = around;
    this.#id = id;
    this.#answer = answer;
    this.#reader = reader;
  }

  message(message: InferMessage): void {
    const answer = this.#answer;
    if (message.id !== "" && message.id !== this.#id) return this.#foreign(message.id);
    answer.touch();
    if (message.error !== "") return answer.fail(answer.error(failureFromText(message.error)), false);
    const wasted = this.#reader.read(message);
    if (!answer.open) return;
    if (message.final) {
      this.#reader.ended();
      answer.end();
    } else if (wasted && answer.complete) {
      answer.end(true);
    }
  }

  givenUp(): void {
    const { channel, model, target } = this.#around;
    if (model.stopModel !== "" && !channel.closed) stopBehindEnsemble(channel, model.stopModel, this.#id, target.clock);
  }

  #foreign(id: string): void {
    if (this.#warned) return;
    this.#warned = true;
    process.emitWarning(`a response for ${id} came on the stream of ${this.#id}, and was dropped`, {
      code: "WEIR_TRITON_FOREIGN_RESPONSE",
    });
  }
}
