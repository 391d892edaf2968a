import { hash } from "node:crypto";
import { clone, create } from "@bufbuild/protobuf";
import { type Sampling, SamplingSchema } from "../../../gen/ts/weir/router/v1/generation_pb.ts";

/** Sampling with nothing left open that TensorRT-LLM has a bad default for. */
export interface ExplicitSampling {
  readonly sampling: Sampling;
  /** Members that the caller did not ask for: a model without inputs for them does without. */
  readonly implied: ReadonlySet<string>;
}

/** OpenAI's, and vLLM's. */
const temperatureDefault = 1;

/**
 * Says what the caller left open. TensorRT-LLM's defaults are `top_k` 0, `top_p` 0 and seed 0: it takes the likeliest token
 * each time, whatever the temperature, and where it draws, it draws the same for every request.
 *
 * @param id of the try, which is unique for ever: the seed comes of it, so each request has one of its own.
 */
export function explicitSampling(given: Sampling | undefined, id: string): ExplicitSampling {
  const sampling = given ? clone(SamplingSchema, given) : create(SamplingSchema);
  const implied = new Set<string>();
  if (sampling.temperature === undefined) {
    sampling.temperature = temperatureDefault;
    implied.add("temperature");
  }
  if (sampling.temperature === 0) {
    sampling.topK = 1;
    delete sampling.topP;
    implied.add("top_k");
    return { sampling, implied };
  }
  if (sampling.topP === undefined && (sampling.topK ?? 0) <= 0) {
    sampling.topP = 1;
    implied.add("top_p");
  }
  if (sampling.seed === undefined) {
    sampling.seed = seedFrom(id);
    implied.add("seed");
  }
  return { sampling, implied };
}

/** Not negative, whether the engine takes it for signed or not. */
function seedFrom(id: string): bigint {
  return BigInt.asUintN(63, hash("sha256", id, "buffer").readBigUInt64LE());
}
