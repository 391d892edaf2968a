import type { Job } from "../engine.ts";
import { sampleOf } from "../sample.ts";
import { countTokens } from "../text.ts";

/** A request as the simulated server understands it. */
export interface Asked {
  readonly kind: "chat" | "completion";
  readonly job: Job;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly stops: readonly string[];
  readonly logprobs: boolean;
  readonly topLogprobs: number;
  /** The function that the answer calls. */
  readonly call: string | undefined;
  readonly echo: boolean;
}

/** Why a request is refused, in the manner of vLLM. */
export interface Refusal {
  readonly status: number;
  readonly type: string;
  readonly message: string;
}

type Members = Readonly<Record<string, unknown>>;

/** Reads a body that the gateway sent; what a real engine would refuse is refused. */
export function askedFrom(
  kind: Asked["kind"],
  body: unknown,
  id: string,
  models: readonly string[],
  contextLength: number,
): Asked | Refusal {
  if (!isMembers(body)) return bad("the body must be a JSON object");
  const model = body["model"];
  if (typeof model !== "string" || !models.includes(model)) {
    return { status: 404, type: "NotFoundError", message: `The model \`${String(model)}\` does not exist.` };
  }
  const prompt = kind === "chat" ? promptFromMessages(body["messages"]) : promptFrom(body["prompt"]);
  if (prompt === undefined)
    return bad(kind === "chat" ? "messages must be a list of messages" : "prompt must be a text or token ids");
  const promptTokens = countTokens(prompt);
  const maxTokens =
    numberOf(body["max_completion_tokens"]) ?? numberOf(body["max_tokens"]) ?? (kind === "completion" ? 16 : undefined);
  if (promptTokens >= contextLength) {
    return bad(
      `This model's maximum context length is ${contextLength} tokens. However, you requested ${promptTokens} tokens in the messages. Please reduce the length of the messages.`,
    );
  }
  const temperature = numberOf(body["temperature"]);
  if (temperature !== undefined && temperature < 0) return bad("temperature must be non-negative");
  const call = calledFunction(body, prompt);
  const streamOptions = isMembers(body["stream_options"]) ? body["stream_options"] : {};
  return {
    kind,
    job: {
      id,
      model,
      prompt,
      seed: seedOf(body["seed"], temperature),
      maxTokens,
      minTokens: numberOf(body["min_tokens"]) ?? 0,
      ignoreEos: body["ignore_eos"] === true,
      choices: numberOf(body["n"]) ?? 1,
      saying: call ? JSON.stringify(sampleOf(call.parameters)) : sayingOf(body["response_format"]),
    },
    stream: body["stream"] === true,
    includeUsage: streamOptions["include_usage"] === true,
    stops: stopsOf(body["stop"]),
    logprobs: kind === "chat" ? body["logprobs"] === true : numberOf(body["logprobs"]) !== undefined,
    topLogprobs: numberOf(body["top_logprobs"]) ?? (kind === "completion" ? (numberOf(body["logprobs"]) ?? 0) : 0),
    call: call?.name,
    echo: body["echo"] === true,
  };
}

function bad(message: string): Refusal {
  return { status: 400, type: "BadRequestError", message };
}

function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function numberOf(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

/** Greedy decoding needs no seed to repeat itself. */
function seedOf(seed: unknown, temperature: number | undefined): bigint | undefined {
  if (typeof seed === "number") return BigInt(Math.trunc(seed));
  return temperature === 0 ? 0n : undefined;
}

function stopsOf(stop: unknown): readonly string[] {
  if (typeof stop === "string") return [stop];
  return Array.isArray(stop) ? stop.filter((each) => typeof each === "string") : [];
}

function promptFrom(prompt: unknown): string | undefined {
  if (typeof prompt === "string") return prompt;
  if (!Array.isArray(prompt)) return undefined;
  // Four bytes stand for a token, so that as many tokens are counted as ids were sent.
  return prompt.every((id) => typeof id === "number")
    ? prompt.map((id) => String(id % 1_000).padStart(4, "#")).join("")
    : undefined;
}

function promptFromMessages(messages: unknown): string | undefined {
  if (!Array.isArray(messages)) return undefined;
  return messages
    .map((message) => {
      const { role, content } = isMembers(message) ? message : { role: "", content: "" };
      return `<${String(role)}>${typeof content === "string" ? content : JSON.stringify(content ?? "")}`;
    })
    .join("\n");
}

/** A function is called when the request demands it, or when the conversation says `[[sim tool]]`. */
function calledFunction(
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
  if (format["type"] === "json_object") return '{"answer": "forty-two"}';
  if (format["type"] !== "json_schema" || !isMembers(format["json_schema"])) return undefined;
  return JSON.stringify(sampleOf(format["json_schema"]["schema"]));
}
