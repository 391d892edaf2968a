import type { EmbedInput, EmbedRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Target } from "../driver.ts";
import type { Channel } from "../grpc/channel.ts";
import { embedInBatches } from "../embed-batches.ts";
import { askOnce } from "../grpc/unary.ts";
import { BadAnswer, type Embedded, type UnaryAttempt } from "../unary.ts";
import type { InferMessage } from "./codec.ts";
import type { EmbeddingInterface } from "./embedding-interface.ts";
import { failureFromTritonStatus } from "./errors.ts";
import type { InferRequest } from "./inputs.ts";
import { modelInfer } from "./rpcs.ts";
import { encodeTensor, type Scalar } from "./tensors.ts";

/** Requests at a time: Triton gathers them to batches of its own, and one caller does not fill its queue. */
const atOnceMax = 8;
const bytesPerValue = 4;

/** Embeds the inputs, as many in one request as the model takes. Ids go one by one: they are of different lengths. */
export async function embedAtTriton(
  channel: Channel,
  target: Target,
  model: EmbeddingInterface,
  attempt: UnaryAttempt<EmbedRequest>,
  signal: AbortSignal,
): Promise<Embedded> {
  const { request, extras } = attempt;
  for (const name in extras) throw fail(ErrorReason.UNSUPPORTED, { param: name, model: request.model });
  const batching = { size: () => inputsAtOnce(model), atOnceMax };
  return await embedInBatches(request, target, batching, signal, async (inputs, suffix, ends) => {
    const infer = inferRequest(model, attempt.model.engineModel, attempt.id + suffix, inputs);
    const asked = { channel, target, rpc: modelInfer(), request: infer, model: request.model };
    const message = await askOnce({ ...asked, failureFrom: failureFromTritonStatus }, ends);
    return { vectors: vectorsOf(message, model, inputs.length), tokens: undefined };
  });
}

function inputsAtOnce({ form, batchMax, dimensions }: EmbeddingInterface): number {
  return form === "text" && dimensions > 0 ? Math.max(1, batchMax) : 1;
}

function inferRequest(
  model: EmbeddingInterface,
  modelName: string,
  id: string,
  batch: readonly EmbedInput[],
): InferRequest {
  const heads: { name: string; datatype: string; shape: bigint[] }[] = [];
  const rawInputContents: Uint8Array[] = [];
  for (const [name, datatype] of Object.entries(model.inputs)) {
    const values = valuesOf(name, batch);
    const each = BigInt(values.length / batch.length);
    heads.push({ name, datatype, shape: model.batchMax > 0 ? [BigInt(batch.length), each] : [each] });
    rawInputContents.push(encodeTensor(datatype, values));
  }
  return { modelName, id, inputs: heads, rawInputContents, outputs: [{ name: model.output }] };
}

/** Of a text itself, or of ids; nothing is padded, and nothing is a second sentence. */
function valuesOf(name: string, batch: readonly EmbedInput[]): Scalar[] {
  return batch.flatMap(({ input }): Scalar[] => {
    if (input.case !== "tokenIds") return [input.value ?? ""];
    const { ids } = input.value;
    if (name === "input_ids") return ids;
    return ids.map(() => (name === "attention_mask" ? 1 : 0));
  });
}

function vectorsOf({ tensors }: InferMessage, { output, dimensions }: EmbeddingInterface, count: number) {
  const tensor = tensors.find(({ name }) => name === output);
  if (tensor === undefined) throw new BadAnswer("an answer without embeddings");
  const { datatype, elements } = tensor;
  const raw = tensor.bytes.subarray(tensor.start, tensor.end);
  const wrongSize = dimensions > 0 && elements !== count * dimensions;
  if (datatype !== "FP32" || raw.length !== elements * bytesPerValue || wrongSize)
    throw new BadAnswer(`embeddings that are not what they say: ${elements} of ${datatype} in ${raw.length} bytes`);
  const length = raw.length / count;
  // Of their own: the message that they came in is not to be kept for them.
  return Array.from({ length: count }, (_, at) => new Uint8Array(raw.subarray(at * length, (at + 1) * length)));
}
