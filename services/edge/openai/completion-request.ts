import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { JsonObject, JsonValue } from "../json/parse.ts";
import type { DecodeOptions } from "./chat-request.ts";
import { type Decoded, type Draft, extrasJson, readMembers, type Rule, startDraft } from "./draft.ts";
import { expectBoolean, expectInteger, expectString, missing, wrongType } from "./expect.ts";
import { invalid } from "./invalid.ts";
import { readResponseFormat } from "./response-format.ts";
import { checkTogether, engineRules, int32Max, sharedRules } from "./shared-rules.ts";

/** OpenAI's own default: a completion without a limit was never meant to run to the end of the context. */
const maxTokensDefault = 16;
const promptsMax = 2_048;
const tokenIdsMax = 2_000_000;
const promptLengthMax = 8_388_608;
const suffixLengthMax = 1_048_576;
const candidatesMax = 128;

type Input = GenerateRequest["input"];

const completionRules: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ...engineRules,
  ...sharedRules,
  ["prompt", () => undefined],
  ["echo", (value, draft, member) => (draft.request.echo = expectBoolean(value, member))],
  ["suffix", (value, draft, member) => (draft.request.suffix = expectString(value, member, suffixLengthMax))],
  ["best_of", (value, draft, member) => (draft.request.bestOf = expectInteger(value, member, 1, candidatesMax))],
  ["response_format", readResponseFormat],
  [
    "logprobs",
    (value, draft, member) =>
      (draft.request.logprobs = {
        $typeName: "weir.router.v1.LogprobsRequest",
        top: expectInteger(value, member, 0, 5),
      }),
  ],
]);

/**
 * Decodes the body of POST /completions: one request for each prompt. Throws INVALID_ARGUMENT or UNSUPPORTED, with the
 * member's path.
 */
export function decodeCompletionRequest(body: JsonObject, options: DecodeOptions): Decoded {
  const draft = startDraft(body, options.strict);
  const prompt = body["prompt"] ?? null;
  if (prompt === null) throw missing("prompt");
  readMembers(draft, completionRules);
  checkTogether(draft);
  checkBestOf(draft);
  draft.sampling.maxTokens ??= maxTokensDefault;
  draft.request.extrasJson = extrasJson(draft.carried, "");
  const requests = inputsFrom(prompt).map((input) => ({ ...draft.request, input }));
  return { requests, ignored: draft.ignored, includeUsage: draft.includeUsage, functionCalls: false };
}

function checkBestOf(draft: Draft): void {
  const { bestOf, choices, stream } = draft.request;
  if (bestOf === 0) return;
  if (bestOf < Math.max(choices, 1)) throw invalid("best_of", "invalid_value", "must not be below `n`");
  if (stream && bestOf > Math.max(choices, 1)) {
    throw invalid("best_of", "invalid_value", "must not be above `n` where the answer is streamed");
  }
}

/** The four forms of a prompt: text, texts, token ids, and lists of token ids. */
function inputsFrom(prompt: JsonValue): Input[] {
  if (typeof prompt === "string") return [textInput(prompt, "prompt")];
  if (!Array.isArray(prompt)) throw wrongType(prompt, "prompt", "a string or an array");
  const items = prompt as readonly JsonValue[];
  if (items.length === 0) throw invalid("prompt", "array_below_min_length", "must not be empty");
  if (typeof items[0] === "number") return [tokensInput(items, "prompt")];
  if (items.length > promptsMax)
    throw invalid("prompt", "array_above_max_length", `must have at most ${promptsMax} prompts`);
  const texts = typeof items[0] === "string";
  return items.map((item, i) => (texts ? textInput(item, `prompt[${i}]`) : tokensInput(item, `prompt[${i}]`)));
}

function textInput(value: JsonValue, param: string): Input {
  return { case: "prompt", value: expectString(value, param, promptLengthMax, 1) };
}

function tokensInput(value: JsonValue, param: string): Input {
  if (!Array.isArray(value)) throw wrongType(value, param, "an array of token ids");
  const ids = value as readonly JsonValue[];
  if (ids.length === 0) throw invalid(param, "array_below_min_length", "must not be empty");
  if (ids.length > tokenIdsMax)
    throw invalid(param, "array_above_max_length", `must have at most ${tokenIdsMax} token ids`);
  for (const id of ids) {
    if (typeof id === "string") throw invalid(param, "invalid_type", "must not mix texts and token ids");
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > int32Max) {
      throw invalid(param, "invalid_token_id", "must be token ids: whole numbers from 0");
    }
  }
  return { case: "tokenIds", value: { $typeName: "weir.router.v1.TokenIds", ids: ids as number[] } };
}
