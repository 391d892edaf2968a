import type { Job } from "../engine.ts";
import { calledFunction } from "../openai/request.ts";
import { isMembers, type Members, numberOf } from "../openai/rules.ts";
import { firstText, sampleOf } from "../sample.ts";
import { countTokens } from "../text.ts";
import { promptOfChat } from "./chat-prompt.ts";
import { invalid, type TgiFailure, toolError } from "./errors.ts";

/** A request as the simulated server understands it. */
export interface Asked {
  readonly job: Omit<Job, "id">;
  readonly stops: readonly string[];
  readonly details: boolean;
  readonly top: number;
  /** Of a chat: the function that the answer calls. */
  readonly call: string | undefined;
  readonly logprobs: boolean;
  readonly includeUsage: boolean;
}

/** What TGI takes where it is not told otherwise. */
export const stopsMax = 4;
const topMax = 5;
/** The simulator counts four bytes as a token. */
const bytesPerToken = 4;

/** Reads a body of /generate or /generate_stream, or says why TGI refuses it. */
export function askedToGenerate(body: unknown, model: string, contextLength: number): Asked | TgiFailure {
  if (!isMembers(body) || typeof body["inputs"] !== "string") return invalid("missing field `inputs`");
  const parameters = isMembers(body["parameters"]) ? body["parameters"] : {};
  if (body["inputs"] === "") return invalid("`inputs` cannot be empty");
  const { truncate } = parameters;
  const cut = typeof truncate === "number" ? truncate : 0;
  const prompt =
    cut === 0
      ? body["inputs"]
      : Buffer.from(body["inputs"])
          .subarray(-cut * bytesPerToken)
          .toString("utf8");
  const wanted = {
    ...parameters,
    sampling: ["temperature", "top_k", "top_p", "typical_p"].some((name) => typeof parameters[name] === "number"),
  };
  // Who says nothing of sampling gets the likeliest tokens, and as many as fit.
  const maxTokens = numberOf(parameters["max_new_tokens"]);
  return asked(wanted, { prompt, model, maxTokens, contextLength, grammar: parameters["grammar"] });
}

/** Reads a body of /v1/chat/completions. */
export function askedToChat(body: unknown, model: string, contextLength: number): Asked | TgiFailure {
  const prompt = isMembers(body) ? promptOfChat(body) : undefined;
  if (!isMembers(body) || prompt === undefined) return invalid("missing field `messages`");
  if (body["model"] !== "tgi" && body["model"] !== model) return invalid("adapter id is not known");
  if (body["response_format"] && body["tools"]) return toolError("Grammar and tools are mutually exclusive");
  const function_ = calledFunction(body, prompt);
  // An odd one: what penalises a presence is taken as a penalty of repetition, two higher.
  const presence = numberOf(body["presence_penalty"]);
  const wanted = {
    ...body,
    sampling: typeof body["top_p"] === "number",
    do_sample: body["temperature"] !== 0,
    temperature: body["temperature"] === 0 ? undefined : body["temperature"],
    top_n_tokens: body["top_logprobs"],
    repetition_penalty: presence === undefined ? undefined : presence + 2,
  };
  const found = asked(wanted, {
    prompt,
    model,
    maxTokens: numberOf(body["max_tokens"]),
    contextLength,
    grammar: body["response_format"],
  });
  if ("error" in found) return found;
  const options = isMembers(body["stream_options"]) ? body["stream_options"] : {};
  return {
    ...found,
    job: function_ ? { ...found.job, saying: JSON.stringify(sampleOf(function_.parameters)) } : found.job,
    call: function_?.name,
    logprobs: body["logprobs"] === true,
    includeUsage: options["include_usage"] === true,
  };
}

interface Input {
  readonly prompt: string;
  readonly model: string;
  readonly maxTokens: number | undefined;
  readonly contextLength: number;
  readonly grammar: unknown;
}

function asked(wanted: Members, { prompt, model, maxTokens, contextLength, grammar }: Input): Asked | TgiFailure {
  const problem = problemOf(wanted) ?? tooLong(prompt, maxTokens, contextLength);
  if (problem !== undefined) return invalid(problem);
  const saying = sayingOf(grammar);
  if (typeof saying === "object") return saying;
  const { do_sample, sampling, seed } = wanted;
  const greedy = do_sample !== true && sampling !== true;
  return {
    job: {
      model,
      prompt,
      seed: greedy ? 0n : typeof seed === "number" ? BigInt(seed) : undefined,
      maxTokens,
      minTokens: 0,
      ignoreEos: false,
      choices: 1,
      saying,
      cacheSalt: "",
    },
    stops: stopsOf(wanted["stop"]),
    details: wanted["details"] === true,
    top: numberOf(wanted["top_n_tokens"]) ?? 0,
    call: undefined,
    logprobs: false,
    includeUsage: false,
  };
}

/** What is neutral is refused: it has to be left out. */
function problemOf(wanted: Members): string | undefined {
  const value = (name: string) => numberOf(wanted[name]);
  const isOpen = (part: number | undefined) => part === undefined || (part > 0 && part < 1);
  if ((value("temperature") ?? 1) <= 0) return "`temperature` must be strictly positive";
  if ((value("repetition_penalty") ?? 1) <= 0) return "`repetition_penalty` must be strictly positive";
  if (Math.abs(value("frequency_penalty") ?? 0) > 2) return "`frequency_penalty` must be >= -2.0 and <= 2.0";
  if (!isOpen(value("top_p"))) return "`top_p` must be > 0.0 and < 1.0";
  if (!isOpen(value("typical_p"))) return "`typical_p` must be > 0.0 and < 1.0";
  if ((value("top_k") ?? 1) <= 0) return "`top_k` must be strictly positive";
  if (value("max_new_tokens") === 0) return "`max_new_tokens` must be strictly positive";
  const seed = wanted["seed"];
  if (typeof seed === "number" && (seed < 0 || !Number.isInteger(seed))) return "invalid type: expected u64";
  const stops = stopsOf(wanted["stop"]);
  if (stops.length > stopsMax) return `\`stop\` supports up to ${stopsMax} stop sequences. Given: ${stops.length}`;
  const top = value("top_n_tokens") ?? 0;
  if (top > topMax) return `\`top_n_tokens\` must be >= 0 and <= ${topMax}. Given: ${top}`;
  return undefined;
}

function tooLong(prompt: string, maxTokens: number | undefined, contextLength: number): string | undefined {
  const tokens = countTokens(prompt);
  if (tokens + (maxTokens ?? 0) > contextLength)
    return `\`inputs\` tokens + \`max_new_tokens\` must be <= ${contextLength}. Given: ${tokens} \`inputs\` tokens and ${maxTokens ?? 0} \`max_new_tokens\``;
  if (tokens >= contextLength) return `\`inputs\` must have less than ${contextLength - 1} tokens. Given: ${tokens}`;
  return undefined;
}

function stopsOf(stop: unknown): readonly string[] {
  return Array.isArray(stop) ? stop.filter((each) => typeof each === "string") : [];
}

/** What a guided answer says. Of patterns the simulator follows those that list texts. */
function sayingOf(grammar: unknown): string | undefined | TgiFailure {
  if (!isMembers(grammar)) return undefined;
  const { type, value } = grammar;
  if (type === "regex" && typeof value === "string") {
    return firstText(value) ?? invalid("grammar is not valid: a pattern without texts");
  }
  const schema = type === "json_schema" && isMembers(value) ? value["schema"] : value;
  if (!isMembers(schema) || !isMembers(schema["properties"]))
    return invalid("grammar is not valid: Grammar must have a 'properties' field");
  return JSON.stringify(sampleOf(schema));
}
