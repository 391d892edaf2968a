import { status } from "@grpc/grpc-js";
import type { ModelInferRequest } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { Engine, Running } from "../engine.ts";
import type { Fault } from "../fault.ts";
import type { Refusal } from "../grpc/server.ts";
import { CoreAnswer } from "./answer-core.ts";
import { LlmapiAnswer } from "./answer-llmapi.ts";
import { TensorrtAnswer } from "./answer-tensorrt.ts";
import { VllmAnswer } from "./answer-vllm.ts";
import { embed } from "./embedding.ts";
import { modelFailure } from "./engine-failure.ts";
import { inputsFrom } from "./inputs.ts";
import type { Model } from "./models.ts";
import { preprocess } from "./preprocessing.ts";
import { type Caller, type Inference, prefixed, Reply } from "./reply.ts";
import { coreAsked } from "./request-core.ts";
import { llmapiAsked } from "./request-llmapi.ts";
import { tensorrtAsked, vllmAsked } from "./request.ts";

/** The models' side of the server: it runs requests. */
export interface Models {
  readonly byName: ReadonlyMap<string, Model>;
  /** Runs a request, or says why its model never has it. */
  infer(request: ModelInferRequest, caller: Caller): Inference | Refusal;
}

const kinds = {
  core: { read: coreAsked, Answer: CoreAnswer },
  ensemble: { read: tensorrtAsked, Answer: TensorrtAnswer },
  bls: { read: tensorrtAsked, Answer: TensorrtAnswer },
  llmapi: { read: llmapiAsked, Answer: LlmapiAnswer },
  vllm: { read: vllmAsked, Answer: VllmAnswer },
};

type Stoppable = CoreAnswer | TensorrtAnswer | LlmapiAnswer;

const nothing: Inference = { callerLeft: () => undefined };

/** Builds the models over an engine. */
export function createModels(byName: ReadonlyMap<string, Model>, engine: Engine): Models {
  /** Those that a request of the same id to the core ends. */
  const stoppable = new Map<string, { running: Running; answer: Stoppable }>();
  let ordinal = 0;

  const stop = (id: string) => {
    const found = stoppable.get(id);
    if (found === undefined) return;
    stoppable.delete(id);
    found.running.cancel();
    found.answer.stopped();
  };

  const run = (model: Model, request: ModelInferRequest, given: Caller): Inference | Refusal => {
    const inputs = inputsFrom(model, request);
    if (typeof inputs === "string") return invalid(request, inputs);
    const id = request.id === "" ? `sim-triton-${ordinal++}` : request.id;
    const caller: Caller = {
      ...given,
      over() {
        stoppable.delete(id);
        given.over();
      },
    };
    const reply = new Reply(caller, model, request);
    if (model.flavour === "core" && inputs.flag("stop") === true) {
      stop(request.id);
      reply.emptyFinal();
      reply.over();
      return nothing;
    }
    if (model.flavour === "preprocessing") return preprocess(inputs, reply);
    if (model.flavour === "embedding") return embed(model, request, inputs, reply, engine, id);
    if (model.flavour === "llmapi" && inputs.flag("stop") === true) {
      stop(request.id);
      reply.error("Request cancelled by client", true);
      reply.over();
      return nothing;
    }
    const { read, Answer } = kinds[model.flavour];
    const asked = read(model, request, inputs, engine.speed.contextLength);
    if (typeof asked === "string") {
      reply.error(modelFailure(model, asked), model.flavour !== "bls");
      if (model.flavour === "bls") reply.emptyFinal();
      reply.over();
      return nothing;
    }
    const answer = new Answer(asked, model, reply);
    let refused = false;
    const sink = refusable(answer, () => {
      refused = true;
    });
    const running = engine.run({ ...asked.job, id }, sink);
    if (refused) return { code: status.UNAVAILABLE, text: prefixed(request.id, "Exceeds maximum queue size") };
    answer.running = running;
    if (model.flavour !== "bls" && !(answer instanceof VllmAnswer)) stoppable.set(id, { running, answer });
    return {
      callerLeft() {
        // Triton tells an ensemble's next step and never the one that runs, and BLS does not look.
        if (answer instanceof TensorrtAnswer && !running.waiting) return;
        stoppable.delete(id);
        running.cancel();
      },
    };
  };

  return {
    byName,
    infer(request, caller) {
      const model = byName.get(request.modelName);
      return model === undefined ? unknownModel(request.modelName) : run(model, request, caller);
    },
  };
}

/** A refusal of the queue is told before the model has the request, and not by its answer. */
function refusable(answer: Stoppable | VllmAnswer, onRefused: () => void) {
  return {
    token: answer.token.bind(answer),
    step: answer.step.bind(answer),
    done: answer.done.bind(answer),
    failed: (fault: Fault) => (fault.kind === "reject" ? onRefused() : answer.failed(fault)),
  };
}

/** No model of that name. */
export function unknownModel(name: string): Refusal {
  return { code: status.NOT_FOUND, text: `Request for unknown model: '${name}' is not found` };
}

function invalid(request: ModelInferRequest, text: string): Refusal {
  return { code: status.INVALID_ARGUMENT, text: prefixed(request.id, text) };
}
