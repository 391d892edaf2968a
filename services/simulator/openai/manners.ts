import type { Load } from "../engine.ts";
import { type Members, isMembers, type Refusal } from "./rules.ts";
import { chatMembers, completionMembers, embeddingMembers, nestedMembers } from "./trtllm-members.ts";

/** How the servers that speak OpenAI's HTTP differ, as far as they are simulated. */
export interface Manners {
  /** What it calls itself. */
  readonly version: string;
  /** The owner of its models. */
  readonly ownedBy: string;
  /** Its models tell their context, and are known by their names. */
  readonly tellsModels: boolean;
  /** The paths beside /v1/chat/completions and /v1/completions where it takes a POST. */
  readonly unaryPaths: readonly string[];
  /** Refuses a request for its members' names; undefined: they are fine. */
  strange(path: string, body: Members): Refusal | undefined;
  /** Says that a prompt is too long. */
  overlong(promptTokens: number, contextLength: number): string;
  /** It refuses a `max_tokens` that is longer than the context. */
  readonly refusesLongAnswers: boolean;
  /** The fewest alternatives with which completions tell log probabilities. */
  readonly logprobsLeast: 0 | 1;
  /** The body of a refusal or a failure. */
  errorBody(error: Refusal): object;
  /** A stream that fails ends with an event; false: it breaks off. */
  readonly saysFailures: boolean;
  /** Where its gauges are, and what they are called. */
  readonly metricsPath: string;
  gauges(load: Load, kvTokens: number): readonly (readonly [name: string, value: number])[];
}

/** vLLM 0.32, its Python front end. */
const vllm: Manners = {
  version: "0.32.0+weir.simulator",
  ownedBy: "vllm",
  tellsModels: true,
  unaryPaths: ["/v1/embeddings", "/v1/rerank", "/rerank", "/tokenize"],
  strange: () => undefined,
  overlong: (promptTokens, contextLength) =>
    `This model's maximum context length is ${contextLength} tokens. However, your request has ${promptTokens} input tokens. Please reduce the length of the input messages.`,
  refusesLongAnswers: true,
  logprobsLeast: 0,
  errorBody: ({ message, type, status }) => ({ error: { message, type, param: null, code: status } }),
  saysFailures: true,
  metricsPath: "/metrics",
  gauges: ({ running, waiting, kvTokens }, most) => [
    ["vllm:num_requests_running", running],
    ["vllm:num_requests_waiting", waiting],
    ["vllm:kv_cache_usage_perc", kvTokens / most],
  ],
};

/** TensorRT-LLM's trtllm-serve 1.3, without a grammar and without a parser of function calls. */
const trtllm: Manners = {
  version: "1.3.0+weir.simulator",
  ownedBy: "tensorrt_llm",
  tellsModels: false,
  unaryPaths: ["/v1/embeddings"],
  strange: strangeToTrtllm,
  overlong(promptTokens, contextLength) {
    const left = contextLength - promptTokens;
    return `\`default_max_tokens\` must be greater than 0, \`default_max_tokens\` (${left}) = max_seq_len (${contextLength}) - \`splited_prompt_len\` (${promptTokens}) - \`query_token_len\` (0)`;
  },
  refusesLongAnswers: false,
  logprobsLeast: 1,
  errorBody: ({ message, type, status }) => ({ object: "error", message, type, param: null, code: status }),
  saysFailures: false,
  metricsPath: "/prometheus/metrics",
  gauges: ({ running, waiting, kvTokens }, most) => [
    ["trtllm_num_requests_running", running],
    ["trtllm_num_requests_waiting", waiting],
    ["trtllm_kv_cache_utilization", kvTokens / most],
  ],
};

/** By the names that `--openai-as` takes. */
export const manners = { vllm, trtllm } as const satisfies Record<string, Manners>;

/** A server whose manners are simulated. */
export type MannersName = keyof typeof manners;

export function isMannersName(name: string): name is MannersName {
  return name in manners;
}

const membersByPath: Readonly<Record<string, ReadonlySet<string>>> = {
  "/v1/chat/completions": chatMembers,
  "/v1/completions": completionMembers,
  "/v1/embeddings": embeddingMembers,
};

/** A member that a request may not have, in it or one step below, is refused whatever its value. */
function strangeToTrtllm(path: string, body: Members): Refusal | undefined {
  for (const name in body) if (membersByPath[path]?.has(name) === false) return forbidden(name);
  for (const name in nestedMembers) {
    const inner = body[name];
    for (const each of Array.isArray(inner) ? inner : [inner]) {
      if (!isMembers(each)) continue;
      for (const below in each) if (nestedMembers[name]?.has(below) === false) return forbidden(`${name}.${below}`);
    }
  }
  return undefined;
}

function forbidden(name: string): Refusal {
  return { status: 400, type: "BadRequestError", message: `${name}: Extra inputs are not permitted` };
}
