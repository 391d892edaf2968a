import { lengthFrom } from "../counts.ts";
import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { GaugeNames } from "../http/gauges.ts";
import { isObject, type JsonObject } from "../http/json.ts";

/** What a server says of itself when it is asked the flavour's question. */
export interface Identity {
  readonly version: string;
  /** 0: it does not say. */
  readonly contextLength: number;
  /** Features that this server lacks, though its flavour has them. */
  readonly lacks: readonly Feature[];
  /** By model, where a server says it of each; undefined: it is the same for all. */
  readonly models?: ReadonlyMap<string, Pick<Identity, "contextLength" | "lacks">>;
}

/** The members that take a form; empty: it has none such, and JSON is a `response_format`. */
export interface FormMembers {
  readonly schema: "" | "json_schema";
  readonly pattern: "" | "regex";
  readonly grammar: "" | "grammar" | "ebnf";
}

/** How servers that speak OpenAI's HTTP differ. One row a server; a difference is a column. */
export interface Flavour {
  readonly name: string;
  /** What the server calls itself. */
  readonly engine: string;
  /** `owned_by` of its models. */
  readonly ownedBy: readonly string[];
  /**
   * A path that this server answers, and what the answer tells, beside the cards of its models; undefined if it is somebody
   * else's answer.
   */
  readonly question:
    | { readonly path: string; identify(answer: JsonObject, cards: readonly JsonObject[]): Identity | undefined }
    | undefined;
  /** Asked for readiness; empty: the list of models is enough. */
  readonly healthPath: string;
  /**
   * Paths that tell whether the server lets requests wait, though it is healthy: `/is_paused` answers `{"is_paused": true}`.
   * One that it has not says no.
   */
  readonly pausePaths: readonly string[];
  /** Gauges of its metrics, if it has them. */
  readonly gauges: GaugeNames | undefined;
  readonly metricsPath: string;
  readonly features: readonly Feature[];
  /** It does not notice that a caller of a plain answer left: it is always asked to stream. */
  readonly alwaysStream: boolean;
  /** Its usage counts all choices. */
  readonly usageCountsChoices: boolean;
  /** It puts usage on every chunk when asked. */
  readonly continuousUsage: boolean;
  /** What it calls the most tokens of a chat. */
  readonly maxTokensMember: "max_tokens" | "max_completion_tokens";
  /** Where it takes `cache_salt`, which separates prefix caches. */
  readonly cacheSalt: "everywhere" | "in chats" | "nowhere";
  /** The body's member for our id; empty: the header x-request-id only. */
  readonly requestIdMember: string;
  /** Its templates know the role "developer". */
  readonly developerRole: boolean;
  /** Members of an assistant's message that take its reasoning. */
  readonly reasoningMembers: readonly string[];
  /** What it calls members of our sampling; empty: it has none such. Others keep their names. */
  readonly members: Readonly<Record<string, string>>;
  /** What switches top_k off; undefined: leave it out. */
  readonly topKOff: number | undefined;
  /** Members that are sent when the caller gave none, because its own defaults are not OpenAI's. */
  readonly defaults: Readonly<Record<string, unknown>>;
  /** The fewest alternatives that completions ask for with log probabilities: of 0 it makes none at all. */
  readonly logprobsLeast: 0 | 1;
  /** What takes the forms that `structured_outputs` asks for; undefined: it takes that itself. */
  readonly formMembers: FormMembers | undefined;
  /** What POST /tokenize takes: `prompt`, and perhaps `messages`, as vLLM does; `content` as llama.cpp does; or no such path. */
  readonly tokenizes: "prompt" | "content" | undefined;
}

const everything: readonly Feature[] = [
  Feature.CONVERSATION,
  Feature.PROMPT,
  Feature.TOKEN_IDS,
  Feature.STREAM,
  Feature.TOOLS,
  Feature.TOOL_CHOICE,
  Feature.JSON_SCHEMA,
  Feature.JSON_OBJECT,
  Feature.LOGPROBS,
  Feature.CHOICES,
  Feature.ECHO,
  Feature.IMAGES,
  Feature.AUDIO,
  Feature.LOGIT_BIAS,
  Feature.CANCEL,
];

/** A server has these paths, whether or not its model embeds or ranks: it says so when it is asked. */
const embeds: readonly Feature[] = [Feature.EMBED, Feature.EMBED_TOKEN_IDS, Feature.EMBED_DIMENSIONS];
const counts: readonly Feature[] = [Feature.COUNT_TOKENS, Feature.COUNT_CONVERSATION];

/** A server that no row knows: it is taken at OpenAI's word. */
export const plain: Flavour = {
  name: "openai",
  engine: "",
  ownedBy: [],
  question: undefined,
  healthPath: "",
  pausePaths: [],
  gauges: undefined,
  metricsPath: "/metrics",
  features: [...everything, Feature.SUFFIX, Feature.BEST_OF, ...embeds, Feature.RERANK],
  alwaysStream: false,
  usageCountsChoices: true,
  continuousUsage: false,
  maxTokensMember: "max_tokens",
  cacheSalt: "nowhere",
  requestIdMember: "",
  developerRole: true,
  reasoningMembers: [],
  members: {},
  topKOff: undefined,
  defaults: {},
  logprobsLeast: 0,
  formMembers: { schema: "", pattern: "", grammar: "" },
  tokenizes: undefined,
};

const trtllmOwner = "tensorrt_llm";

const vllm: Flavour = {
  ...plain,
  name: "vllm",
  engine: "vllm",
  ownedBy: ["vllm"],
  // Others answer there as well: its models also tell their context.
  question: {
    path: "/version",
    identify: (answer, cards) =>
      cards.some((card) => typeof card["max_model_len"] === "number") ? versionOf(answer) : undefined,
  },
  healthPath: "/health",
  // A version that sleeps need not know of pauses, nor the other way round.
  pausePaths: ["/is_paused", "/is_sleeping"],
  gauges: {
    running: "vllm:num_requests_running",
    waiting: "vllm:num_requests_waiting",
    kvUsed: "vllm:kv_cache_usage_perc",
  },
  features: [...everything, Feature.PATTERN, Feature.GRAMMAR, ...embeds, Feature.RERANK, ...counts],
  continuousUsage: true,
  cacheSalt: "everywhere",
  developerRole: false,
  // The member was renamed; each version ignores the other's.
  reasoningMembers: ["reasoning", "reasoning_content"],
  topKOff: 0,
  formMembers: undefined,
  tokenizes: "prompt",
};

/** TensorRT-LLM's trtllm-serve, 1.1 and newer. It refuses a request with a member that it does not know. */
const trtllm: Flavour = {
  ...plain,
  name: "trtllm",
  engine: "tensorrt-llm",
  ownedBy: [trtllmOwner],
  // By this answer alone it could be anybody.
  question: {
    path: "/version",
    identify: (answer, cards) =>
      cards.some((card) => card["owned_by"] === trtllmOwner) ? versionOf(answer) : undefined,
  },
  healthPath: "/health",
  gauges: {
    running: "trtllm_num_requests_running",
    waiting: "trtllm_num_requests_waiting",
    kvUsed: "trtllm_kv_cache_utilization",
  },
  // Its /metrics are JSON, and take what they tell out of a queue.
  metricsPath: "/prometheus/metrics",
  // No form of an answer: without a grammar of its own, which it does not tell of, it answers as if none was asked for.
  features: [
    Feature.CONVERSATION,
    Feature.PROMPT,
    Feature.TOKEN_IDS,
    Feature.STREAM,
    // No choice of them: not every version holds to it.
    Feature.TOOLS,
    Feature.LOGPROBS,
    Feature.CHOICES,
    Feature.IMAGES,
    Feature.LOGIT_BIAS,
    Feature.CANCEL,
    ...embeds,
  ],
  continuousUsage: true,
  cacheSalt: "in chats",
  developerRole: false,
  reasoningMembers: ["reasoning_content"],
  topKOff: 0,
  logprobsLeast: 1,
};

const llamacpp: Flavour = {
  ...plain,
  name: "llamacpp",
  engine: "llama.cpp",
  ownedBy: ["llamacpp"],
  question: { path: "/props", identify: identifyLlamaCpp },
  healthPath: "/health",
  gauges: { running: "llamacpp:requests_processing", waiting: "llamacpp:requests_deferred", kvUsed: "" },
  features: [
    ...everything.filter((feature) => feature !== Feature.ECHO),
    Feature.GRAMMAR,
    Feature.EMBED,
    Feature.EMBED_TOKEN_IDS,
    Feature.RERANK,
    ...counts,
  ],
  alwaysStream: true,
  usageCountsChoices: false,
  developerRole: false,
  reasoningMembers: ["reasoning_content"],
  members: { repetition_penalty: "repeat_penalty", min_tokens: "", stop_token_ids: "" },
  topKOff: 0,
  defaults: { temperature: 1, top_p: 1, top_k: 0, min_p: 0 },
  formMembers: { schema: "json_schema", pattern: "", grammar: "grammar" },
  tokenizes: "content",
};

const sglang: Flavour = {
  ...plain,
  name: "sglang",
  engine: "sglang",
  ownedBy: ["sglang"],
  question: {
    path: "/get_model_info",
    identify: (answer) =>
      typeof answer["model_path"] === "string" ? { version: "", contextLength: 0, lacks: [] } : undefined,
  },
  healthPath: "/health",
  gauges: {
    running: "sglang:num_running_reqs",
    waiting: "sglang:num_queue_reqs",
    kvUsed: "sglang:token_usage",
  },
  features: [...everything, Feature.PATTERN, Feature.GRAMMAR, ...embeds, Feature.RERANK, Feature.COUNT_TOKENS],
  requestIdMember: "rid",
  developerRole: false,
  reasoningMembers: ["reasoning_content"],
  topKOff: -1,
  formMembers: { schema: "", pattern: "regex", grammar: "ebnf" },
  tokenizes: "prompt",
};

const ollama: Flavour = {
  ...plain,
  name: "ollama",
  engine: "ollama",
  ownedBy: ["library", "ollama"],
  question: { path: "/api/version", identify: (answer) => versionOf(answer) },
  features: [
    Feature.CONVERSATION,
    Feature.PROMPT,
    Feature.STREAM,
    // No choice of them: it leaves `tool_choice` out without a word.
    Feature.TOOLS,
    Feature.JSON_SCHEMA,
    Feature.JSON_OBJECT,
    Feature.SUFFIX,
    Feature.IMAGES,
    Feature.CANCEL,
    Feature.EMBED,
    Feature.EMBED_DIMENSIONS,
  ],
  developerRole: false,
  members: { top_k: "", min_p: "", repetition_penalty: "", min_tokens: "", stop_token_ids: "", ignore_eos: "" },
};

const lmStudio: Flavour = {
  ...plain,
  name: "lmstudio",
  engine: "lm studio",
  question: { path: "/api/v0/models", identify: identifyLmStudio },
  features: [
    Feature.CONVERSATION,
    Feature.PROMPT,
    Feature.STREAM,
    Feature.TOOLS,
    Feature.JSON_SCHEMA,
    Feature.IMAGES,
    Feature.LOGIT_BIAS,
    Feature.CANCEL,
    Feature.EMBED,
  ],
  alwaysStream: true,
  developerRole: false,
  members: { min_p: "", repetition_penalty: "repeat_penalty", min_tokens: "", stop_token_ids: "", ignore_eos: "" },
};

/** OpenAI's own API. It refuses members that it does not know, and in chats of its newer models `max_tokens`. */
export const hosted: Flavour = {
  ...plain,
  name: "hosted",
  engine: "openai",
  features: [...everything, Feature.SUFFIX, Feature.BEST_OF, ...embeds],
  maxTokensMember: "max_completion_tokens",
  members: {
    top_k: "",
    min_p: "",
    repetition_penalty: "",
    min_tokens: "",
    stop_token_ids: "",
    ignore_eos: "",
  },
};

/** A deployment of Azure's. */
export const azure: Flavour = { ...hosted, name: "azure", engine: "azure openai" };

/** In the order in which they are asked. */
export const flavours: readonly Flavour[] = [vllm, trtllm, llamacpp, sglang, ollama, lmStudio];

/** The row of a name that a probe found. */
export function flavourNamed(name: string): Flavour {
  return [...flavours, hosted, azure].find((flavour) => flavour.name === name) ?? plain;
}

function versionOf(answer: JsonObject): Identity | undefined {
  const version = answer["version"];
  return typeof version === "string" ? { version, contextLength: 0, lacks: [] } : undefined;
}

function identifyLlamaCpp(answer: JsonObject): Identity | undefined {
  const settings = answer["default_generation_settings"];
  if (!isObject(settings)) return undefined;
  const build = answer["build_info"];
  const context = settings["n_ctx"];
  // Without them in the template it ignores tools, even "required" ones, and says nothing.
  const caps = answer["chat_template_caps"];
  const takesTools = !isObject(caps) || caps["supports_tools"] !== false;
  const modalities = answer["modalities"];
  const lacks: Feature[] = takesTools ? [] : [Feature.TOOLS, Feature.TOOL_CHOICE];
  if (isObject(modalities) && modalities["vision"] !== true) lacks.push(Feature.IMAGES);
  if (isObject(modalities) && modalities["audio"] !== true) lacks.push(Feature.AUDIO);
  return {
    version: typeof build === "string" ? build : "",
    contextLength: lengthFrom(context),
    lacks,
  };
}

const notEmbedding = lmStudio.features.filter((feature) => feature !== Feature.EMBED);

/** It lists what is on its disk; a model that is asked for is loaded. */
function identifyLmStudio(answer: JsonObject): Identity | undefined {
  const cards = Array.isArray(answer["data"]) ? answer["data"].filter(isObject) : [];
  if (!cards.some((card) => typeof card["compatibility_type"] === "string")) return undefined;
  const models = new Map<string, Pick<Identity, "contextLength" | "lacks">>();
  for (const card of cards) {
    const { id, type } = card;
    if (typeof id !== "string") continue;
    const lacks =
      type === "embeddings" ? notEmbedding : type === "vlm" ? [Feature.EMBED] : [Feature.EMBED, Feature.IMAGES];
    const contextLength = lengthFrom(card["loaded_context_length"]) || lengthFrom(card["max_context_length"]);
    models.set(id, { contextLength, lacks });
  }
  return { version: "", contextLength: 0, lacks: [], models };
}
