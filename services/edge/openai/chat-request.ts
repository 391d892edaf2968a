import type { JsonObject } from "../json/parse.ts";
import { conversationFrom } from "./chat-messages.ts";
import { checkToolChoice, readFunctionCall, readFunctions, readToolChoice, readTools } from "./chat-tools.ts";
import { type Decoded, type Draft, extrasJson, readMembers, type Rule, startDraft } from "./draft.ts";
import {
  expectArray,
  expectBoolean,
  expectInteger,
  expectObject,
  expectOneOf,
  expectString,
  missing,
} from "./expect.ts";
import { invalid, unsupported } from "./invalid.ts";
import { readResponseFormat } from "./response-format.ts";
import { carried, checkTogether, engineRules, ignored, int32Max, sharedRules } from "./shared-rules.ts";

/** What a chat request's decoding needs beside its body. */
export interface DecodeOptions {
  /** Refuse members that are not known, instead of carrying them. */
  readonly strict: boolean;
}

/** Members that a pool's engine could not honour by any setting: they are refused by name. */
const refused = (feature: string): Rule => {
  return (_value, draft, member) => {
    throw unsupported(member, feature, draft.request.model);
  };
};

const readModalities: Rule = (value, draft, member) => {
  const kinds = expectArray(value, member, 2).map((kind, i) => expectOneOf(kind, `${member}[${i}]`, ["text", "audio"]));
  if (kinds.includes("audio")) throw unsupported(member, "answers in sound", draft.request.model);
};

/** vLLM knows it in chats, too: there the last message would come before the answer. */
const readEcho: Rule = (value, draft, member) => {
  if (expectBoolean(value, member)) throw unsupported(member, "the echo of a chat's last message", draft.request.model);
};

const readStore: Rule = (value, draft, member) => {
  if (expectBoolean(value, member)) draft.ignored.add(member);
};

const chatRules: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ...engineRules,
  ["echo", readEcho],
  ...sharedRules,
  [
    "messages",
    (value, draft) => (draft.request.input = { case: "conversation", value: conversationFrom(value, draft) }),
  ],
  [
    "max_completion_tokens",
    (value, draft, member) => (draft.sampling.maxTokens = expectInteger(value, member, 1, int32Max)),
  ],
  ["tools", readTools],
  ["tool_choice", readToolChoice],
  ["parallel_tool_calls", (value, draft, member) => (draft.request.parallelToolCalls = expectBoolean(value, member))],
  ["functions", readFunctions],
  ["function_call", readFunctionCall],
  ["response_format", readResponseFormat],
  ["logprobs", (value, _draft, member) => void expectBoolean(value, member)],
  ["top_logprobs", (value, _draft, member) => void expectInteger(value, member, 0, 20)],
  [
    "reasoning_effort",
    (value, draft, member) =>
      (draft.request.reasoningEffort = expectOneOf(value, member, [
        "none",
        "minimal",
        "low",
        "medium",
        "high",
        "xhigh",
        "max",
      ])),
  ],
  ["verbosity", carried((value, member) => expectOneOf(value, member, ["low", "medium", "high"]))],
  ["modalities", readModalities],
  ["audio", refused("answers in sound")],
  ["web_search_options", refused("web search")],
  ["moderation", refused("moderation of requests")],
  ["store", readStore],
  // A guess at the answer makes it come sooner, and no different.
  ["prediction", ignored(expectObject)],
  ["prompt_cache_options", ignored(expectObject)],
  ["prompt_cache_retention", ignored((value, member) => expectOneOf(value, member, ["in_memory", "in-memory", "24h"]))],
  ["safety_identifier", ignored((value, member) => expectString(value, member, 128))],
]);

/** Decodes the body of POST /chat/completions. Throws INVALID_ARGUMENT or UNSUPPORTED, with the member's path. */
export function decodeChatRequest(body: JsonObject, options: DecodeOptions): Decoded {
  const draft = startDraft(body, options.strict);
  if ((body["messages"] ?? null) === null) throw missing("messages");
  readMembers(draft, chatRules);
  checkMaxTokens(body);
  checkTogether(draft);
  checkToolChoice(draft);
  readLogprobs(draft);
  draft.request.extrasJson = extrasJson(draft.carried, "");
  return {
    requests: [draft.request],
    ignored: draft.ignored,
    includeUsage: draft.includeUsage,
    functionCalls: draft.functionCalls,
  };
}

function checkMaxTokens(body: JsonObject): void {
  const older = body["max_tokens"] ?? null;
  const newer = body["max_completion_tokens"] ?? null;
  if (older !== null && newer !== null && older !== newer) {
    throw invalid(
      "max_tokens",
      "conflicting_parameters",
      "must not differ from `max_completion_tokens`: give one of the two",
    );
  }
}

function readLogprobs(draft: Draft): void {
  const top = draft.body["top_logprobs"] ?? 0;
  if (draft.body["logprobs"] === true) {
    draft.request.logprobs = { $typeName: "weir.router.v1.LogprobsRequest", top: Number(top) };
  } else if (top !== 0) {
    throw invalid("top_logprobs", "invalid_value", "goes with `logprobs: true` only");
  }
}
