import { GatedMember, type Pool } from "../../gen/ts/weir/catalog/v1/pool_pb.ts";
import type { WeirError } from "../runtime/errors/fail.ts";
import { isObject, parseObject, refuse, refusedAnywhere, refusedInside, unknownMember } from "./refused-members.ts";

// Clients choose no host, template, salt, priority or internal header. What a request carries beyond the contract is
// held against these lists before an engine sees it.

/** What may be passed on to an engine. */
export interface Carried {
  readonly extras: Readonly<Record<string, unknown>>;
  /** Members that were dropped, for the caller to know. */
  readonly ignored: readonly string[];
}

/** Refused as members of the request itself; inside another member they are data. */
const refusedAtTop: ReadonlySet<string> = new Set(["constructor", "prototype", "request_id"]);

/** Refused unless the pool allows them. */
const gated: ReadonlyMap<string, GatedMember> = new Map([
  ["chat_template_kwargs", GatedMember.CHAT_TEMPLATE_KWARGS],
  ["media_io_kwargs", GatedMember.MEDIA_KWARGS],
  ["mm_processor_kwargs", GatedMember.MEDIA_KWARGS],
  ["priority", GatedMember.PRIORITY],
]);

/** Dropped without a word: the engine gets ours, of the caller's project. */
const replaced: ReadonlySet<string> = new Set(["cache_salt"]);

/** The keys of `chat_template_kwargs` that only choose how much a model thinks. */
const templateKeys: ReadonlySet<string> = new Set(["enable_thinking", "thinking"]);

/** The contract has fields of its own for these: a second value beside the checked one would be the engine's choice. */
const ownFields: ReadonlySet<string> = new Set([
  "best_of",
  "echo",
  "frequency_penalty",
  "function_call",
  "functions",
  "ignore_eos",
  "logit_bias",
  "logprobs",
  "max_completion_tokens",
  "max_tokens",
  "messages",
  "min_p",
  "min_tokens",
  "model",
  "n",
  "parallel_tool_calls",
  "presence_penalty",
  "prompt",
  "reasoning_effort",
  "repetition_penalty",
  "response_format",
  "seed",
  "stop",
  "stop_token_ids",
  "stream",
  "stream_options",
  "suffix",
  "temperature",
  "tool_choice",
  "tools",
  "top_k",
  "top_logprobs",
  "top_p",
]);

const nothing: Carried = { extras: Object.freeze({}), ignored: [] };

/** Holds `extras_json` against the pool's rules. */
export function checkExtras(extrasJson: string, pool: Pool): Carried | WeirError {
  if (extrasJson === "") return nothing;
  const parsed = parseObject(extrasJson);
  if (!parsed) return refuse("extras_json", "invalid_type", "is no JSON object");
  const extras: Record<string, unknown> = {};
  const ignored: string[] = [];
  for (const [name, value] of Object.entries(parsed)) {
    if (replaced.has(name)) continue;
    const problem = checkMember(name, value, pool);
    if (problem) return problem;
    if (pool.hosted) ignored.push(name);
    else extras[name] = value;
  }
  return { extras, ignored };
}

function checkMember(name: string, value: unknown, pool: Pool): WeirError | undefined {
  if (refusedAnywhere.has(name) || refusedAtTop.has(name)) return unknownMember(name);
  if (ownFields.has(name)) return unknownMember(name, "has a field of its own in the contract");
  const gate = gated.get(name);
  if (gate !== undefined && !pool.allowedMembers.includes(gate)) return unknownMember(name, "is not open to callers");
  const nested = refusedInside(value, name);
  if (nested !== undefined) return unknownMember(nested);
  if (name === "chat_template_kwargs") return checkTemplateKeys(value);
  // Its result has no place in the contract: the engine would work for nobody.
  if (name === "prompt_logprobs" && value !== null) return refuse(name, "unsupported_parameter", promptLogprobs);
  if (name === "logprob_token_ids" && (!Array.isArray(value) || value.length > 128)) {
    return refuse(name, "array_above_max_length", "is no list of at most 128 token ids");
  }
  return undefined;
}

const promptLogprobs = "has no place in an answer here: ask a completion for its `echo` with `logprobs`";

function checkTemplateKeys(value: unknown): WeirError | undefined {
  if (!isObject(value)) return refuse("chat_template_kwargs", "invalid_type", "is no object");
  for (const [key, setting] of Object.entries(value)) {
    const path = `chat_template_kwargs.${key}`;
    if (!templateKeys.has(key)) return unknownMember(path, "is not open to callers");
    if (typeof setting !== "boolean") return refuse(path, "invalid_type", "is neither true nor false");
  }
  return undefined;
}
