import { status } from "@grpc/grpc-js";
import type { DecodingParameters, GenerateRequest } from "../../../gen/ts/engine/vllm/inference_pb.ts";
import type { Job } from "../engine.ts";
import type { Refusal } from "../grpc/server.ts";
import { parsedMembers } from "../json.ts";
import { sampleText, someObject } from "../sample.ts";
import { countTokens, textOfIds } from "../text.ts";

/** A request as the simulated server understands it. */
export interface Asked {
  readonly job: Omit<Job, "id">;
  readonly stops: readonly string[];
  readonly includesStop: boolean;
  readonly stopTokenIds: ReadonlySet<number>;
  readonly returns: {
    readonly text: boolean;
    readonly ids: boolean;
    readonly promptIds: readonly number[];
    /** How many other tokens; undefined: no likelihoods at all. */
    readonly candidates: number | undefined;
  };
}

/** The simulator counts four bytes as a token. */
const bytesPerToken = 4;

/** Reads a request, or says why the front end refuses it, in its words. */
export function askedFrom(
  request: GenerateRequest,
  models: readonly string[],
  contextLength: number,
  rank: string,
): Asked | Refusal {
  const { model, loraName, sampling, decoding, stopping, response } = request;
  if (rank !== "" && rank !== "0") return invalid(`data parallel rank ${rank} is not connected to this frontend`);
  if (model !== "" && !models.includes(model)) return { code: status.NOT_FOUND, text: `model \`${model}\` not found` };
  if (loraName !== "") return { code: status.FAILED_PRECONDITION, text: "engine was not started with LoRA enabled" };
  const whole = promptOf(request.prompt);
  if (whole === undefined) return invalid("prompt is required");
  const prompt = truncated(whole, request.truncatePromptTokens);
  const problem = problemOf(request, countTokens(prompt), contextLength);
  if (problem !== undefined) return invalid(problem);
  const saying = sayingOf(decoding?.structuredOutput);
  if (typeof saying === "object") return saying;
  const select = response?.outputCandidates?.select;
  return {
    job: {
      model: model || (models[0] ?? ""),
      prompt,
      // Not said, the temperature is 0: greedy.
      seed: (request.temperature ?? 0) === 0 ? 0n : sampling?.seed,
      maxTokens: stopping?.maxNewTokens || undefined,
      minTokens: stopping?.minNewTokens ?? 0,
      ignoreEos: stopping?.ignoreEos ?? false,
      choices: 1,
      saying,
      cacheSalt: request.kv?.cacheSalt ?? "",
    },
    stops: stopping?.stopStrings ?? [],
    includesStop: stopping?.includeStopStrings ?? false,
    stopTokenIds: new Set(stopping?.stopTokenIds),
    returns: {
      text: response?.outputText ?? true,
      ids: response?.outputTokenIds ?? false,
      promptIds: response?.promptTokenIds ? idsOf(request.prompt, prompt) : [],
      candidates: response?.outputLogprobs ? (select?.case === "topN" ? select.value : 0) : undefined,
    },
  };
}

function promptOf(prompt: GenerateRequest["prompt"]): string | undefined {
  if (prompt.case === "text") return prompt.value === "" ? undefined : prompt.value;
  if (prompt.case === "tokenIds") return prompt.value.ids.length === 0 ? undefined : textOfIds(prompt.value.ids);
  return undefined;
}

function idsOf(prompt: GenerateRequest["prompt"], text: string): number[] {
  if (prompt.case === "tokenIds") return prompt.value.ids;
  return Array.from({ length: countTokens(text) }, (_, at) => at);
}

function truncated(text: string, tokens: number): string {
  if (tokens === 0) return text;
  return Buffer.from(text)
    .subarray(-tokens * bytesPerToken)
    .toString("utf8");
}

function problemOf(request: GenerateRequest, promptTokens: number, contextLength: number): string | undefined {
  const { sampling, stopping, response, temperature = 0 } = request;
  if ((sampling?.numSequences ?? 0) > 1) return "num_sequences > 1 is not supported";
  if (!(temperature >= 0 && temperature <= 2)) return `temperature must be in [0, 2], got ${temperature}`;
  const topP = sampling?.topP ?? 0;
  if (!(topP >= 0 && topP <= 1)) return `top_p must be in (0, 1], got ${topP}`;
  if (stopping?.stopStrings.includes("")) return `text request \`${request.requestId}\` stop strings cannot be empty`;
  if (response?.promptCandidates?.select.case === "tokenIds")
    return "prompt_candidates token_ids selector is not supported";
  if (promptTokens >= contextLength)
    return `this model's maximum context length is ${contextLength} tokens, but the prompt contains ${promptTokens} input tokens`;
  const [min, max] = [stopping?.minNewTokens ?? 0, stopping?.maxNewTokens || contextLength - promptTokens];
  return min > max
    ? `\`min_tokens\` must be less than or equal to \`max_tokens\`, got min_tokens=${min}, max_tokens=${max}`
    : undefined;
}

/** What a guided answer says. A text that fits a pattern or a grammar the simulator cannot invent. */
function sayingOf(output: DecodingParameters["structuredOutput"] | undefined): string | undefined | Refusal {
  switch (output?.case) {
    case "jsonObject":
      return output.value ? someObject : undefined;
    case "json":
      return parsedMembers(output.value) ? sampleText(output.value) : invalid("invalid json schema: expected value");
    case "choice":
      return output.value.choices[0] ?? invalid("choice cannot be an empty list");
    case "regex":
    case "grammar":
    case "structuralTag":
      return invalid(`the simulator follows no ${output.case}`);
    default:
      return undefined;
  }
}

function invalid(text: string): Refusal {
  return { code: status.INVALID_ARGUMENT, text };
}
