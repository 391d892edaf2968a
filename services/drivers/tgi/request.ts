import type { Sampling } from "../../../gen/ts/weir/router/v1/generation_pb.ts";
import type { Attempt } from "../driver.ts";
import { type Guide, guideFromExtras, patternOf } from "../guide.ts";
import { jsonObjectMember } from "../http/json.ts";
import type { TgiInterface } from "./interface.ts";

/** A body as the server wants it, or the first member that it has nothing for. */
export type BuiltBody =
  | { readonly kind: "body"; readonly body: Readonly<Record<string, unknown>>; readonly ignored: readonly string[] }
  | { readonly kind: "unsupported"; readonly param: string };

/** An extra that the reader sees to: the engine sends special tokens always, and says which are. */
export const skipSpecialTokens = "skip_special_tokens";

/** Members that have no place on any of its paths, and the values of them that do nothing. */
const placeless: readonly [param: string, hasEffect: (sampling: Sampling) => boolean][] = [
  ["min_p", ({ minP = 0 }) => minP !== 0],
  ["presence_penalty", ({ presencePenalty = 0 }) => presencePenalty !== 0],
  ["min_tokens", ({ minTokens = 0 }) => minTokens > 0],
  ["stop_token_ids", ({ stopTokenIds }) => stopTokenIds.length > 0],
  ["ignore_eos", ({ ignoreEos }) => ignoreEos],
];

/** The first member with an effect and no place. */
export function placelessOf(sampling: Sampling | undefined): string | undefined {
  return sampling && placeless.find(([, hasEffect]) => hasEffect(sampling))?.[0];
}

/** Builds the body of a prompt's continuation, without its seed. Throws INVALID_ARGUMENT for a schema that is no JSON. */
export function buildGenerate(attempt: Attempt, prompt: string, model: TgiInterface): BuiltBody {
  const { sampling, responseFormat, logprobs } = attempt.request;
  const placeless = placelessOf(sampling);
  if (placeless !== undefined) return { kind: "unsupported", param: placeless };
  const { [skipSpecialTokens]: _, ...extras } = attempt.extras;
  const { guide, truncate, ignored } = guideFromExtras(responseFormat, extras);
  const grammar = guide && grammarOf(guide);
  if (guide && !grammar) return { kind: "unsupported", param: "structured_outputs" };
  const parameters = {
    ...samplingOf(sampling),
    stop: stopsForEngine(sampling, model),
    // Left out it would be 100 for older servers; null is what fits.
    max_new_tokens: attempt.maxTokens || sampling?.maxTokens || null,
    details: true,
    ...(logprobs && logprobs.top > 0 ? { top_n_tokens: logprobs.top } : {}),
    ...(grammar ? { grammar } : {}),
    ...(truncate > 0 ? { truncate } : {}),
  };
  return { kind: "body", body: { inputs: prompt, parameters }, ignored };
}

/** What is neutral is refused by these paths, and has to be left out. */
function samplingOf(sampling: Sampling | undefined): Readonly<Record<string, unknown>> {
  const { temperature, topP = 1, topK = 0, repetitionPenalty, frequencyPenalty } = sampling ?? {};
  const penalties = {
    ...(repetitionPenalty === undefined ? {} : { repetition_penalty: repetitionPenalty }),
    ...(frequencyPenalty === undefined ? {} : { frequency_penalty: frequencyPenalty }),
  };
  // Any of the others would make it sample after all.
  if (temperature === 0) return { do_sample: false, ...penalties };
  return {
    do_sample: true,
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP < 1 ? { top_p: topP } : {}),
    ...(topK > 0 ? { top_k: topK } : {}),
    ...penalties,
  };
}

/** As many stop texts as the server takes: the reader finds the others, so these are the ones that spare it work. */
export function stopsForEngine(sampling: Sampling | undefined, { stopsMax }: TgiInterface): readonly string[] {
  return (sampling?.stop ?? []).slice(0, stopsMax);
}

/** The seed of a choice: with one seed all would say the same. JSON numbers are exact to 53 bits. */
export function seedOf(sampling: Sampling | undefined, choice: number): { readonly seed?: number } {
  if (sampling?.seed === undefined || sampling.temperature === 0) return {};
  return { seed: Number(BigInt.asUintN(53, sampling.seed + BigInt(choice))) };
}

/** A form that it enforces; undefined: it can't. */
export function grammarOf(guide: Guide): Readonly<Record<string, unknown>> | undefined {
  switch (guide.kind) {
    case "json":
      return { type: "json", value: jsonObjectMember(guide.schema, "response_format") };
    case "regex":
      return { type: "regex", value: guide.pattern };
    case "choice":
      return { type: "regex", value: patternOf(guide.choices) };
    default:
      return undefined;
  }
}
