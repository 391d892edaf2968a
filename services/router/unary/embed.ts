import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { Operation } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { EmbedInput, EmbedRequest, EmbedResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Embedding } from "../../../gen/ts/weir/router/v1/unary_answer_pb.ts";
import type { Embedded } from "../../drivers/unary.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import type { PromptBytes } from "../metering/meter.ts";
import { bit } from "../requirement.ts";
import { planWithExtras } from "./extras.ts";
import type { UnaryOperation } from "./operation.ts";
import { anyHas, unsupported } from "./unsupported.ts";

const own: ReadonlySet<string> = new Set([
  "dimensions",
  "embed_dtype",
  "encoding_format",
  "endianness",
  "input",
  "inputs",
  "user",
]);

/** Embedding: texts, or lists of token ids, as vectors. */
export const embedding: UnaryOperation<EmbedRequest, Embedded, EmbedResponse> = {
  name: "embed",
  operation: Operation.EMBED,
  needed(request) {
    let needed = request.dimensions === undefined ? 0 : bit(Feature.EMBED_DIMENSIONS);
    for (const { input } of request.inputs) {
      needed |= bit(input.case === "tokenIds" ? Feature.EMBED_TOKEN_IDS : Feature.EMBED);
    }
    return needed;
  },
  size: sizeOf,
  inputs: ({ inputs }) => inputs.length,
  param: "input",
  plan(request, entry) {
    const [first] = request.inputs;
    const odd = request.inputs.findIndex(({ input }) => input.case !== first?.input.case);
    if (odd >= 0) return mixed(odd);
    return planWithExtras(request.extrasJson, entry, own);
  },
  lacking: ({ model, inputs, dimensions }, sets) => {
    const has = (feature: Feature) => anyHas(sets, feature);
    const byIds = inputs[0]?.input.case === "tokenIds";
    if (!has(Feature.EMBED) && !has(Feature.EMBED_TOKEN_IDS)) return unsupported("model", "embeddings", model);
    if (byIds && !has(Feature.EMBED_TOKEN_IDS)) return unsupported("input", "token ids", model);
    if (!byIds && !has(Feature.EMBED)) return unsupported("input", "texts", model);
    return unsupported("dimensions", dimensions === undefined ? "embeddings" : "another length of vectors", model);
  },
  ask: (driver, attempt, _place, signal) => driver.embed?.(attempt, signal),
  tokens: ({ tokens }) => tokens,
  respond({ inputs }, { vectors, tokens = 0 }, started, usage) {
    const embeddings = vectors.map((values, at): Embedding => {
      const known = inputs.length === 1 ? tokens : idsIn(inputs[at]);
      return { $typeName: "weir.router.v1.Embedding", values, tokens: BigInt(known) };
    });
    return { $typeName: "weir.router.v1.EmbedResponse", started, embeddings, usage };
  },
};

function sizeOf({ inputs }: EmbedRequest): PromptBytes {
  let bytes = 0;
  let tokens = 0;
  for (const one of inputs) {
    tokens += idsIn(one);
    if (one.input.case === "text") bytes += Buffer.byteLength(one.input.value);
  }
  return { bytes, tokens: bytes === 0 ? tokens : undefined };
}

/** Tokens of an input that came as such; else 0. */
function idsIn(one: EmbedInput | undefined): number {
  return one?.input.case === "tokenIds" ? one.input.value.ids.length : 0;
}

function mixed(at: number): WeirError {
  const problem = "texts and token ids can't be mixed";
  return fail(ErrorReason.INVALID_ARGUMENT, { param: `inputs[${at}]`, code: "invalid_type", problem });
}
