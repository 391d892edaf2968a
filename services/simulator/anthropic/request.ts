import type { Job } from "../engine.ts";
import { isMembers, type Members, numberOf } from "../openai/rules.ts";
import { sampleOf } from "../sample.ts";
import { countTokens } from "../text.ts";
import { lacksThought, promptFrom } from "./conversation.ts";
import { type AnthropicFailure, invalid, missing } from "./failure.ts";

/** A request as the simulated API understands it. */
export interface Asked {
  readonly job: Job;
  readonly stream: boolean;
  readonly stops: readonly string[];
  /** The function that the answer calls. */
  readonly call: string | undefined;
  /** It thinks before it speaks. */
  readonly thinks: boolean;
}

const known: ReadonlySet<string> = new Set([
  "model",
  "max_tokens",
  "messages",
  "system",
  "stream",
  "temperature",
  "top_p",
  "top_k",
  "stop_sequences",
  "tools",
  "tool_choice",
  "thinking",
  "output_config",
  "metadata",
  "service_tier",
]);

/** Reads a body, or says why the API refuses it. */
export function askedFrom(
  body: unknown,
  id: string,
  models: readonly string[],
  contextLength: number,
): Asked | AnthropicFailure {
  if (!isMembers(body)) return invalid("the body must be a JSON object");
  const { model, max_tokens: maxTokens } = body;
  if (typeof model !== "string" || !models.includes(model)) return missing(model);
  const problem = problemOf(body);
  if (problem !== undefined) return invalid(problem);
  const prompt = promptFrom(body["system"], body["messages"]);
  if (typeof prompt === "object") return prompt;
  const thinking = isMembers(body["thinking"]) ? body["thinking"]["type"] : "disabled";
  const unthought = thinking === "enabled" ? lacksThought(body["messages"]) : undefined;
  if (unthought !== undefined) return invalid(unthought);
  const long = tooLong(countTokens(prompt), Number(maxTokens), contextLength);
  if (long !== undefined) return invalid(long);
  const call = calledFunction(body, prompt);
  const config = isMembers(body["output_config"]) ? body["output_config"] : {};
  const form = isMembers(config["format"]) ? config["format"]["schema"] : undefined;
  const saying = call ? sampleOf(call.schema) : form === undefined ? undefined : sampleOf(form);
  return {
    job: {
      id,
      model,
      prompt,
      seed: body["temperature"] === 0 ? 0n : undefined,
      maxTokens: Number(maxTokens),
      minTokens: 0,
      ignoreEos: false,
      choices: 1,
      saying: saying === undefined ? undefined : JSON.stringify(saying),
      cacheSalt: "",
    },
    stream: body["stream"] === true,
    stops: stopsOf(body["stop_sequences"]),
    call: call?.name,
    thinks: thinking !== "disabled",
  };
}

function problemOf(body: Members): string | undefined {
  const unknown = Object.keys(body).find((name) => !known.has(name));
  if (unknown !== undefined) return `${unknown}: Extra inputs are not permitted`;
  const { max_tokens: maxTokens, temperature, top_p: topP, top_k: topK } = body;
  if (typeof maxTokens !== "number" || !Number.isInteger(maxTokens) || maxTokens < 1)
    return "max_tokens: Field required";
  if (!isBetween(temperature, 0, 1)) return "temperature: range: 0..1";
  if (!isBetween(topP, 0, 1)) return "top_p: range: 0..1";
  if (!isBetween(topK, 1, 1e6)) return "top_k: Input should be greater than or equal to 1";
  if (stopsOf(body["stop_sequences"]).some((stop) => stop.trim() === ""))
    return "stop_sequences: each stop sequence must contain non-whitespace";
  const tools = toolsOf(body);
  if (tools.some(({ input_schema: schema }) => !isMembers(schema) || schema["type"] !== "object"))
    return "tools.0.input_schema.type: Field required";
  return body["tool_choice"] !== undefined && tools.length === 0
    ? "tool_choice may only be specified while providing tools"
    : undefined;
}

function isBetween(value: unknown, least: number, most: number): boolean {
  const number = numberOf(value);
  return value === undefined || (number !== undefined && number >= least && number <= most);
}

function tooLong(promptTokens: number, maxTokens: number, contextLength: number): string | undefined {
  if (promptTokens >= contextLength) return `prompt is too long: ${promptTokens} tokens > ${contextLength} maximum`;
  if (promptTokens + maxTokens <= contextLength) return undefined;
  return `input length and \`max_tokens\` exceed context limit: ${promptTokens} + ${maxTokens} > ${contextLength}, decrease input length or \`max_tokens\` and try again`;
}

function stopsOf(stops: unknown): readonly string[] {
  return Array.isArray(stops) ? stops.filter((stop) => typeof stop === "string") : [];
}

function toolsOf(body: Members): Members[] {
  return Array.isArray(body["tools"]) ? body["tools"].filter(isMembers) : [];
}

/** A function is called when the request demands it, or when the conversation says `[[sim tool]]`. */
function calledFunction(body: Members, prompt: string): { name: string; schema: unknown } | undefined {
  const choice = isMembers(body["tool_choice"]) ? body["tool_choice"] : {};
  const { type = "auto", name } = choice;
  if (type === "none" || (type === "auto" && !prompt.includes("[[sim tool]]"))) return undefined;
  const called = toolsOf(body).find((tool) => type !== "tool" || tool["name"] === name);
  return called && typeof called["name"] === "string"
    ? { name: called["name"], schema: called["input_schema"] }
    : undefined;
}
