import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { JsonObject } from "../json/parse.ts";
import type { DecodeOptions } from "./chat-request.ts";
import { type Decoded, type Draft, extrasJson, readMembers, type Rule, startDraft } from "./draft.ts";
import { expectBoolean, expectInteger, expectString, missing } from "./expect.ts";
import { inputForms, type TextOrTokens } from "./input-forms.ts";
import { invalid } from "./invalid.ts";
import { readResponseFormat } from "./response-format.ts";
import { checkTogether, engineRules, int32Max, sharedRules } from "./shared-rules.ts";

/** OpenAI's own default: a completion without a limit was never meant to run to the end of the context. */
const maxTokensDefault = 16;
const suffixLengthMax = 1_048_576;
const candidatesMax = 128;

type Input = GenerateRequest["input"];

const completionRules: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ...engineRules,
  ...sharedRules,
  ["prompt", () => undefined],
  // Without an answer it is about its prompt: how likely that is, say.
  [
    "max_tokens",
    (value, draft, member) =>
      (draft.sampling.maxTokens = expectInteger(value, member, draft.body["echo"] === true ? 0 : 1, int32Max)),
  ],
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
  const requests = inputForms(prompt, "prompt").map((one) => ({ ...draft.request, input: inputFrom(one) }));
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

function inputFrom(one: TextOrTokens): Input {
  if (one.case === "text") return { case: "prompt", value: one.text };
  return { case: "tokenIds", value: { $typeName: "weir.router.v1.TokenIds", ids: one.ids } };
}
