import { clone, create } from "@bufbuild/protobuf";
import {
  type Parameters,
  ParametersSchema,
  StoppingCriteriaSchema,
} from "../../../gen/ts/engine/tgis/generation_pb.ts";
import type { Refusal } from "../grpc/server.ts";
import { type Asked, askedFrom, invalid } from "./request.ts";

/** What is generated where no number is said. */
const maxTokensDefault = 20;
/** Where the adapter would refuse more. */
const penaltyMost = 2;

/** Reads a request as IBM's own server does. */
export function askedOfIbm(
  parameters: Parameters | undefined,
  text: string | undefined,
  contextLength: number,
): Asked | Refusal {
  if (text === undefined) return invalid("missing request");
  return askedFrom(forAdapter(parameters ?? create(ParametersSchema)), text, contextLength);
}

/**
 * The parameters by which the adapter would do the same. The forms of an answer are not in IBM's contract, and dropped
 * unread; sampling with a temperature of 0 is sampling with 1.
 */
function forAdapter(parameters: Parameters): Parameters {
  const adapted = clone(ParametersSchema, parameters);
  const { decoding, sampling, stopping } = adapted;
  if (sampling) {
    sampling.temperature ||= 1;
    sampling.typicalP = 0;
  }
  if (decoding) {
    decoding.guided = { case: undefined };
    delete decoding.lengthPenalty;
    decoding.repetitionPenalty = Math.min(decoding.repetitionPenalty, penaltyMost);
  }
  if (stopping) stopping.maxNewTokens ||= maxTokensDefault;
  else adapted.stopping = create(StoppingCriteriaSchema, { maxNewTokens: maxTokensDefault });
  return adapted;
}
