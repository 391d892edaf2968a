import type { Job } from "../engine.ts";
import { sampleOf, someObject } from "../sample.ts";
import { countTokens } from "../text.ts";
import type { Manners } from "./manners.ts";
import { promptFrom, promptFromMessages } from "./prompt.ts";
import { bad, badNumber, isMembers, type Members, numberOf, type Refusal } from "./rules.ts";

/** A request as the simulated server understands it. */
export interface Asked {
  readonly kind: "chat" | "completion";
  readonly job: Job;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Usage so far on every chunk. */
  readonly continuousUsage: boolean;
  readonly stops: readonly string[];
  readonly logprobs: boolean;
  readonly topLogprobs: number;
  /** The function that the answer calls. */
  readonly call: string | undefined;
  readonly echo: boolean;
  /** Nothing follows the echo, though the engine makes a token. */
  readonly onlyEcho: boolean;
}

/** Reads a body that the gateway sent; what a real engine would refuse is refused. */
export function askedFrom(
  kind: Asked["kind"],
  body: unknown,
  id: string,
  models: readonly string[],
  contextLength: number,
  manners: Manners,
): Asked | Refusal {
  if (!isMembers(body)) return bad("the body must be a JSON object");
  const model = body["model"];
  if (typeof model !== "string" || (manners.tellsModels && !models.includes(model))) {
    return { status: 404, type: "NotFoundError", message: `The model \`${String(model)}\` does not exist.` };
  }
  const prompt = kind === "chat" ? promptFromMessages(body["messages"]) : promptFrom(body["prompt"]);
  if (prompt === undefined)
    return bad(kind === "chat" ? "messages must be a list of messages" : "prompt must be a text or token ids");
  const stops = stopsOf(body["stop"]);
  const refusal = badNumber(body) ?? badOptions(body, stops) ?? tooLong(body, prompt, contextLength, manners);
  if (refusal) return refusal;
  const call = calledFunction(body, prompt);
  const maxTokens = maxTokensOf(body);
  const onlyEcho = maxTokens === 0;
  const streamOptions = isMembers(body["stream_options"]) ? body["stream_options"] : {};
  return {
    kind,
    job: {
      id,
      model,
      prompt,
      seed: seedOf(body["seed"], numberOf(body["temperature"])),
      maxTokens: onlyEcho ? 1 : (maxTokens ?? (kind === "completion" ? 16 : undefined)),
      minTokens: numberOf(body["min_tokens"]) ?? 0,
      ignoreEos: body["ignore_eos"] === true,
      choices: numberOf(body["n"]) ?? 1,
      saying: call ? JSON.stringify(sampleOf(call.parameters)) : sayingOf(body["response_format"]),
      cacheSalt: typeof body["cache_salt"] === "string" ? body["cache_salt"] : "",
    },
    stream: body["stream"] === true,
    includeUsage: streamOptions["include_usage"] === true,
    continuousUsage: streamOptions["include_usage"] === true && streamOptions["continuous_usage_stats"] === true,
    stops,
    logprobs: kind === "chat" ? body["logprobs"] === true : hasLogprobs(body, manners),
    topLogprobs: numberOf(kind === "chat" ? body["top_logprobs"] : body["logprobs"]) ?? 0,
    call: call?.name,
    echo: kind === "completion" && body["echo"] === true,
    onlyEcho,
  };
}

function hasLogprobs(body: Members, { logprobsLeast }: Manners): boolean {
  const wanted = numberOf(body["logprobs"]);
  return wanted !== undefined && wanted >= logprobsLeast;
}

function maxTokensOf(body: Members): number | undefined {
  return numberOf(body["max_completion_tokens"]) ?? numberOf(body["max_tokens"]);
}

function badOptions(body: Members, stops: readonly string[]): Refusal | undefined {
  if (stops.includes("")) return bad("stop cannot contain an empty string.");
  if (isMembers(body["stream_options"]) && body["stream"] !== true)
    return bad("Stream options can only be defined when `stream=True`.");
  const logprobs = body["logprobs"];
  if (typeof logprobs === "number" && !(Number.isInteger(logprobs) && logprobs >= 0 && logprobs <= 20))
    return bad("`logprobs` must be from 0 to 20.");
  return undefined;
}

/** An answer that does not fit beside its prompt is cut; one that would not fit alone may be refused. */
function tooLong(body: Members, prompt: string, contextLength: number, manners: Manners): Refusal | undefined {
  const promptTokens = countTokens(prompt);
  if (promptTokens >= contextLength) return bad(manners.overlong(promptTokens, contextLength));
  const maxTokens = maxTokensOf(body) ?? 0;
  if (maxTokens <= contextLength || !manners.refusesLongAnswers) return undefined;
  return bad(
    `'max_tokens' or 'max_completion_tokens' is too large: ${maxTokens}. This model's maximum context length is ${contextLength} tokens and your request has ${promptTokens} input tokens.`,
  );
}

/** Greedy decoding needs no seed to repeat itself. */
function seedOf(seed: unknown, temperature: number | undefined): bigint | undefined {
  if (typeof seed === "number") return BigInt(seed);
  return temperature === 0 ? 0n : undefined;
}

function stopsOf(stop: unknown): readonly string[] {
  if (typeof stop === "string") return [stop];
  return Array.isArray(stop) ? stop.filter((each) => typeof each === "string") : [];
}

/** A function is called when the request demands it, or when the conversation says `[[sim tool]]`. */
export function calledFunction(
  body: Members,
  prompt: string,
): { readonly name: string; readonly parameters: unknown } | undefined {
  const tools = Array.isArray(body["tools"]) ? body["tools"].filter(isMembers) : [];
  const functions = tools.map((tool) => tool["function"]).filter(isMembers);
  const choice = body["tool_choice"];
  const named = isMembers(choice) && isMembers(choice["function"]) ? choice["function"]["name"] : undefined;
  if (choice === "none" || (named === undefined && choice !== "required" && !prompt.includes("[[sim tool]]")))
    return undefined;
  const called = functions.find((each) => named === undefined || each["name"] === named);
  return called && typeof called["name"] === "string"
    ? { name: called["name"], parameters: called["parameters"] }
    : undefined;
}

function sayingOf(format: unknown): string | undefined {
  if (!isMembers(format)) return undefined;
  if (format["type"] === "json_object") return someObject;
  if (format["type"] !== "json_schema" || !isMembers(format["json_schema"])) return undefined;
  return JSON.stringify(sampleOf(format["json_schema"]["schema"]));
}
