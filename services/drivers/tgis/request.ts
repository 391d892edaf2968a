import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  DecodingMethod,
  DecodingParameters_ResponseFormat,
  type DecodingParametersSchema,
  type ParametersSchema,
  type StoppingCriteriaSchema,
} from "../../../gen/ts/engine/tgis/generation_pb.ts";
import type { Sampling } from "../../../gen/ts/weir/router/v1/generation_pb.ts";
import type { Attempt } from "../driver.ts";
import { guideFromExtras } from "../guide.ts";
import type { TgisInterface } from "./interface.ts";

/** Parameters as the server wants them, or the first member that it has nothing for. */
export type BuiltParameters =
  | {
      readonly kind: "parameters";
      readonly parameters: MessageInitShape<typeof ParametersSchema>;
      readonly ignored: readonly string[];
    }
  | { readonly kind: "unsupported"; readonly param: string; readonly feature: string };

/** The most alternatives: as the adapter checks, and as IBM's contract says. */
const topMaxes = { adapter: 10, ibm: 5 };
const stopsMax = 6;
const stopBytesMax = 240;

/** Members that have no place here, the values of them that do nothing, and what they are called in an error. */
const placeless: readonly [param: string, hasEffect: (sampling: Sampling) => boolean][] = [
  ["min_p", ({ minP = 0 }) => minP !== 0],
  ["frequency_penalty", ({ frequencyPenalty = 0 }) => frequencyPenalty !== 0],
  ["presence_penalty", ({ presencePenalty = 0 }) => presencePenalty !== 0],
  ["stop_token_ids", ({ stopTokenIds }) => stopTokenIds.length > 0],
  ["ignore_eos", ({ ignoreEos }) => ignoreEos],
];

/** Builds the parameters of one request. */
export function buildParameters(attempt: Attempt, model: TgisInterface): BuiltParameters {
  const { sampling, logprobs } = attempt.request;
  const lacking = sampling && placeless.find(([, hasEffect]) => hasEffect(sampling));
  if (lacking) return { kind: "unsupported", param: lacking[0], feature: "" };
  const top = logprobs?.top ?? 0;
  const topMax = model.guides ? topMaxes.adapter : topMaxes.ibm;
  if (top > topMax) return { kind: "unsupported", param: "logprobs", feature: `more than ${topMax} alternatives` };
  const { guided, truncate, ignored } = guidanceOf(attempt);
  // It would not be refused: a field that a server does not know is dropped.
  if (guided.case !== undefined && !model.guides)
    return { kind: "unsupported", param: "structured_outputs", feature: "forms of an answer" };
  const parameters: MessageInitShape<typeof ParametersSchema> = {
    // Greedy decoding is a method of its own, and the default one.
    method: sampling?.temperature === 0 ? DecodingMethod.GREEDY : DecodingMethod.SAMPLE,
    sampling: samplingOf(sampling),
    stopping: stoppingOf(attempt, model),
    decoding: { repetitionPenalty: sampling?.repetitionPenalty ?? 0, guided },
    truncateInputTokens: truncate,
  };
  if (logprobs) parameters.response = { generatedTokens: true, tokenLogprobs: true, topNTokens: top };
  return { kind: "parameters", parameters, ignored };
}

function samplingOf(
  sampling: Sampling | undefined,
): NonNullable<MessageInitShape<typeof ParametersSchema>["sampling"]> {
  const { temperature, topK = 0, topP = 0, seed } = sampling ?? {};
  return {
    topK: Math.max(0, topK),
    topP,
    ...(temperature === undefined ? {} : { temperature }),
    // Negative ones wrap around, so that every seed is one.
    ...(seed === undefined ? {} : { seed: BigInt.asUintN(64, seed) }),
  };
}

function stoppingOf(attempt: Attempt, model: TgisInterface): MessageInitShape<typeof StoppingCriteriaSchema> {
  const { sampling } = attempt.request;
  // What a caller asked for is the engine's to refuse; what we fill in is what it gives. IBM's server takes 0 for 20.
  const most = model.maxNewTokens;
  const wanted = attempt.maxTokens || sampling?.maxTokens || most;
  const maxNewTokens = sampling?.maxTokens || most === 0 ? wanted : Math.min(wanted, most);
  return {
    maxNewTokens,
    minNewTokens: sampling?.minTokens ?? 0,
    stopSequences: stopsForEngine(sampling?.stop ?? []),
    // Its default is the server's, and differs.
    includeStopSequence: false,
  };
}

/** As many stop texts as the engine takes: the reader finds the others, so these are the ones that spare it work. */
function stopsForEngine(stops: readonly string[]): string[] {
  return stops.filter((stop) => Buffer.byteLength(stop) <= stopBytesMax).slice(0, stopsMax);
}

interface Guidance {
  readonly guided: NonNullable<MessageInitShape<typeof DecodingParametersSchema>["guided"]>;
  readonly truncate: number;
  readonly ignored: readonly string[];
}

/** The form of the answer, from the request or from extras that this protocol has a place for. */
function guidanceOf({ request, extras }: Attempt): Guidance {
  const { guide, truncate, ignored } = guideFromExtras(request.responseFormat, extras);
  switch (guide?.kind) {
    case "object":
      return { guided: { case: "format", value: DecodingParameters_ResponseFormat.JSON }, truncate, ignored };
    case "json":
      return { guided: { case: "jsonSchema", value: guide.schema }, truncate, ignored };
    case "choice":
      return { guided: { case: "choice", value: { choices: [...guide.choices] } }, truncate, ignored };
    case "regex":
      return { guided: { case: "regex", value: guide.pattern }, truncate, ignored };
    case "grammar":
      return { guided: { case: "grammar", value: guide.grammar }, truncate, ignored };
    default:
      return { guided: { case: undefined }, truncate, ignored };
  }
}
