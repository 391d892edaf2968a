import { status } from "@grpc/grpc-js";
import type { ModelInferRequest } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { Engine, JobSink } from "../engine.ts";
import { lieFrom } from "../fault.ts";
import type { Refusal } from "../grpc/server.ts";
import { textOfIds } from "../text.ts";
import { dimensionsDefault, vectorOf } from "../vectors.ts";
import { engineFailure } from "./engine-failure.ts";
import type { Inputs } from "./inputs.ts";
import type { Model } from "./models.ts";
import { type Inference, prefixed, type Reply } from "./reply.ts";
import { numbers } from "./tensors.ts";

/** Embeds a batch: a vector for each of its inputs, in one response. */
export function embed(
  model: Model,
  request: ModelInferRequest,
  inputs: Inputs,
  reply: Reply,
  engine: Engine,
  id: string,
): Inference | Refusal {
  const texts = textsFrom(model, request, inputs);
  const prompt = texts.join("\n");
  let refused = false;
  const sink: JobSink = {
    token: () => undefined,
    step: () => undefined,
    done() {
      reply.data([vectorsOf(model, texts, prompt)], true);
      reply.over();
    },
    failed(fault) {
      if (fault.kind === "reject") {
        refused = true;
        return;
      }
      if (fault.kind === "crash") return reply.crash();
      if (fault.kind === "cut") return reply.cut();
      // An end without a response is an error of the call.
      if (fault.kind !== "early_end") reply.error(engineFailure(model, request.id), true);
      reply.over();
    },
  };
  const one = { maxTokens: 1, minTokens: 0, ignoreEos: false, choices: 1, saying: ".", cacheSalt: "" };
  const running = engine.run({ id, model: model.name, prompt, seed: 0n, ...one }, sink);
  if (refused) return { code: status.UNAVAILABLE, text: prefixed(request.id, "Exceeds maximum queue size") };
  // What an encoder has begun it ends.
  return { callerLeft: () => void (running.waiting && running.cancel()) };
}

function textsFrom(model: Model, request: ModelInferRequest, inputs: Inputs): string[] {
  const [first] = request.inputs;
  const count = Number(first?.shape[0] ?? 1n);
  const byText = model.inputs.some(({ datatype }) => datatype === "BYTES");
  if (byText) return inputs.rows("TEXT", count).map(([text]) => String(text));
  return inputs.rows("input_ids", count).map((ids) => textOfIds(ids.map(Number)));
}

function vectorsOf(model: Model, texts: readonly string[], prompt: string) {
  const lie = lieFrom(prompt);
  const told = lie === "miscount" ? texts.slice(1) : texts;
  const length = lie === "wrong_dims" ? dimensionsDefault + 1 : dimensionsDefault;
  const values = told.flatMap((text) => vectorOf(text, length));
  if (lie === "nan") values[0] = Number.NaN;
  const [output] = model.outputs;
  return numbers(output?.name ?? "", "FP32", [told.length, length], values);
}
