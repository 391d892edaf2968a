import { type Model, ToolParser } from "../../gen/ts/weir/catalog/v1/model_pb.ts";
import { Feature, type ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateRequest } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { type Part, ToolChoiceMode } from "../../gen/ts/weir/router/v1/message_pb.ts";
import { type Guide, guideFromExtras, structuredOutputs } from "../drivers/guide.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";

/** A set of features: bit n stands for the `Feature` with the number n. A replica serves a request whose set it covers. */
export type FeatureSet = number;

/**
 * One more than the contract's: a conversation that is text can be served, by the engine itself or through the model's
 * chat template.
 */
const converses: FeatureSet = 1 << 30;
/** Another: a conversation that is text can be counted, by the engine itself or through the chat template. */
export const countsConversations: FeatureSet = 1 << 28;

/** Nothing can be asked of it: it takes token ids only, and the model has no tokenizer. */
const lacksTokenizer: FeatureSet = 1 << 27;

/** The set of one feature. */
export const bit = (feature: Feature): FeatureSet => 1 << feature;

/** What the gateway checks where no engine of the model has it. */
const checked: FeatureSet = bit(Feature.JSON_OBJECT) | bit(Feature.JSON_SCHEMA) | bit(Feature.PATTERN);

/** What a replica has to cover of what is needed: all of it, if one that is known does; else what can't be done without it. */
export function requiredOf(needed: FeatureSet, known: readonly { readonly features: FeatureSet }[]): FeatureSet {
  if ((needed & checked) === 0 || known.some(({ features }) => covers(features, needed))) return needed;
  return needed & ~checked;
}

/**
 * What a model at a replica can do.
 *
 * @param readsCalls its calls are read from the text, where the engine does not take the conversation itself.
 * @param counts the gateway itself counts its tokens.
 */
export function featureSet(
  features: readonly Feature[],
  hasChatTemplate: boolean,
  readsCalls = false,
  counts = false,
): FeatureSet {
  let set = counts ? bit(Feature.COUNT_TOKENS) : 0;
  for (const feature of features) set |= bit(feature);
  const counted = hasChatTemplate && (set & bit(Feature.COUNT_TOKENS)) !== 0;
  if (counted || (set & bit(Feature.COUNT_CONVERSATION)) !== 0) set |= countsConversations;
  if (takesConversation(set)) return set | converses;
  const rendered = hasChatTemplate && (set & bit(Feature.PROMPT)) !== 0;
  if (!rendered) return set;
  return set | converses | (readsCalls ? bit(Feature.TOOLS) : 0);
}

/** What a model of the catalogue can do at a replica that has it. */
export function seatFeatures(served: ReplicaModel, { chatTemplate, toolParser, tokenizer }: Model): FeatureSet {
  const { features, needsTokenizer } = served;
  if (needsTokenizer && !tokenizer) return lacksTokenizer;
  const readsCalls = toolParser !== ToolParser.UNSPECIFIED;
  // What the engine takes as ids the tokenizer makes of a text.
  const known = needsTokenizer ? [...features, Feature.PROMPT] : features;
  return featureSet(known, chatTemplate !== undefined, readsCalls, tokenizer !== undefined);
}

/** Whether the set covers what is needed. */
export function covers(set: FeatureSet, needed: FeatureSet): boolean {
  return (needed & ~set) === 0;
}

/** Whether the engine takes the conversation itself. */
export function takesConversation(set: FeatureSet): boolean {
  return (set & bit(Feature.CONVERSATION)) !== 0;
}

const guideFeatures: Readonly<Record<Guide["kind"], Feature>> = {
  object: Feature.JSON_OBJECT,
  json: Feature.JSON_SCHEMA,
  choice: Feature.PATTERN,
  regex: Feature.PATTERN,
  grammar: Feature.GRAMMAR,
};

/** What an engine needs to hold an answer to a form. */
export function neededByGuide({ kind }: Guide): FeatureSet {
  return bit(guideFeatures[kind]);
}

/** What a request needs, with the extras that engines get of it. */
export function neededBy(request: GenerateRequest, extras: Readonly<Record<string, unknown>> = {}): FeatureSet {
  const { input, sampling, toolChoice } = request;
  let needed = 0;
  if (input.case === "prompt") needed |= bit(Feature.PROMPT);
  else if (input.case === "tokenIds") needed |= bit(Feature.TOKEN_IDS);
  else if (input.case === "conversation") {
    needed |= converses;
    for (const message of input.value.messages) for (const part of message.parts) needed |= neededByPart(part);
  }
  if (request.tools.length > 0) needed |= neededByCalls(toolChoice?.mode ?? ToolChoiceMode.AUTO);
  if (request.responseFormat || extras[structuredOutputs] !== undefined) {
    const { guide } = guideFromExtras(request.responseFormat, extras);
    if (guide) needed |= neededByGuide(guide);
  }
  if (request.logprobs) needed |= bit(Feature.LOGPROBS);
  if (request.choices > 1) needed |= bit(Feature.CHOICES);
  if (request.bestOf > Math.max(1, request.choices)) needed |= bit(Feature.BEST_OF);
  if (request.echo) needed |= bit(Feature.ECHO);
  if (request.suffix) needed |= bit(Feature.SUFFIX);
  if (sampling && hasAny(sampling.logitBias)) needed |= bit(Feature.LOGIT_BIAS);
  return needed;
}

function neededByCalls(mode: ToolChoiceMode): FeatureSet {
  switch (mode) {
    case ToolChoiceMode.NONE:
      return 0;
    case ToolChoiceMode.REQUIRED:
    case ToolChoiceMode.FUNCTION:
      return bit(Feature.TOOLS) | bit(Feature.TOOL_CHOICE);
    default:
      return bit(Feature.TOOLS);
  }
}

/** What a template cannot render has to reach the engine as it is. */
function neededByPart(part: Part): FeatureSet {
  switch (part.part.case) {
    case "image":
      return bit(Feature.IMAGES) | bit(Feature.CONVERSATION);
    case "audio":
      return bit(Feature.AUDIO) | bit(Feature.CONVERSATION);
    case "file":
    case "unknownJson":
      return bit(Feature.CONVERSATION);
    default:
      return 0;
  }
}

function hasAny(object: object): boolean {
  for (const _ in object) return true;
  return false;
}

/** In which order a caller is told of what is missing, with the member of the request that asks for it. */
const params: readonly (readonly [Feature, string])[] = [
  [Feature.PROMPT, "prompt"],
  [Feature.TOKEN_IDS, "prompt"],
  [Feature.IMAGES, "messages"],
  [Feature.AUDIO, "messages"],
  [Feature.CONVERSATION, "messages"],
  [Feature.TOOLS, "tools"],
  [Feature.TOOL_CHOICE, "tool_choice"],
  [Feature.LOGPROBS, "logprobs"],
  [Feature.CHOICES, "n"],
  [Feature.BEST_OF, "best_of"],
  [Feature.ECHO, "echo"],
  [Feature.SUFFIX, "suffix"],
  [Feature.LOGIT_BIAS, "logit_bias"],
  [Feature.GRAMMAR, structuredOutputs],
];

const words: Partial<Record<Feature, string>> = {
  [Feature.PROMPT]: "plain prompts",
  [Feature.TOKEN_IDS]: "token ids",
  [Feature.IMAGES]: "pictures",
  [Feature.AUDIO]: "sound",
  [Feature.CONVERSATION]: "parts other than text",
  [Feature.TOOL_CHOICE]: "function calls on demand",
  [Feature.GRAMMAR]: "grammars",
};

/** Why none of the replicas, as far as they are known, can ever serve the request. `sets` has at least one. */
export function unsupported(
  request: GenerateRequest,
  needed: FeatureSet,
  sets: readonly FeatureSet[],
  model: string,
): WeirError {
  if (sets.every((set) => set === lacksTokenizer)) return fail(ErrorReason.TOKENIZER_MISSING, { model });
  const required = needed & ~checked;
  const lacking = required & ~sets.reduce((all, set) => all | set, 0);
  if ((lacking & converses) !== 0) {
    const takesPrompt = sets.some((set) => (set & bit(Feature.PROMPT)) !== 0);
    if (takesPrompt) return fail(ErrorReason.CHAT_TEMPLATE_MISSING, { model });
    return fail(ErrorReason.UNSUPPORTED, { param: "messages", feature: "conversations", model });
  }
  // Each feature alone may be there, and no replica has all of them: name the first that the first replica lacks.
  const named = lacking || required & ~(sets[0] ?? 0);
  const [feature, param] = params.find(([one]) => (named & bit(one)) !== 0) ?? [Feature.UNSPECIFIED, "messages"];
  return fail(ErrorReason.UNSUPPORTED, {
    param: pathOf(feature, request) ?? param,
    feature: words[feature] ?? "",
    model,
  });
}

/** Where in a conversation the first part of the kind stands. */
function pathOf(feature: Feature, request: GenerateRequest): string | undefined {
  if (request.input.case !== "conversation") return undefined;
  const kinds: Partial<Record<Feature, readonly (string | undefined)[]>> = {
    [Feature.IMAGES]: ["image"],
    [Feature.AUDIO]: ["audio"],
    [Feature.CONVERSATION]: ["image", "audio", "file", "unknownJson"],
  };
  const wanted = kinds[feature];
  if (!wanted) return undefined;
  for (const [m, message] of request.input.value.messages.entries()) {
    const p = message.parts.findIndex((part) => wanted.includes(part.part.case));
    if (p >= 0) return `messages[${m}].content[${p}]`;
  }
  return undefined;
}
