import { status } from "@grpc/grpc-js";
import {
  type DecodingParameters,
  DecodingMethod,
  DecodingParameters_ResponseFormat,
  type Parameters,
} from "../../../gen/ts/engine/tgis/generation_pb.ts";
import type { Job } from "../engine.ts";
import type { Refusal } from "../grpc/server.ts";
import { sampleText, someObject } from "../sample.ts";
import { countTokens } from "../text.ts";

/** A request as the simulated server understands it. */
export interface Asked {
  readonly job: Omit<Job, "id">;
  readonly stops: readonly string[];
  readonly includesStop: boolean;
  /** The most tokens are those of the server or the context, not those that were asked for. */
  readonly limitIsOurs: boolean;
  readonly timeLimitMs: number | undefined;
  /** The seed that was sent, if one was. */
  readonly seed: bigint | undefined;
  readonly echo: string;
  readonly tokens: { readonly generated: boolean; readonly input: boolean };
  readonly detail: { readonly logprobs: boolean; readonly ranks: boolean; readonly top: number };
}

const stopsMax = 6;
const stopLengthMax = 240;
const topMax = 10;
/** The simulator counts four bytes as a token. */
const bytesPerToken = 4;

/** Reads a request, or says why the adapter refuses it, in its words. */
export function askedFrom(
  parameters: Parameters | undefined,
  text: string | undefined,
  contextLength: number,
): Asked | Refusal {
  const { stopping, response, sampling, decoding } = parameters ?? {};
  const problem = parameters && problemOf(parameters, contextLength);
  if (problem !== undefined) return invalid(problem);
  // What vLLM itself does not take the adapter lets through.
  if (decoding?.lengthPenalty || (sampling?.typicalP ?? 0) > 0)
    return unexpected("vLLM V1 does not support per request user provided logits processors.");
  if (!text) return unexpected("The decoder prompt cannot be empty");
  const prompt = truncated(text, parameters?.truncateInputTokens ?? 0);
  const promptTokens = countTokens(prompt);
  const minTokens = stopping?.minNewTokens ?? 0;
  if (promptTokens >= contextLength)
    return invalid(`input tokens (${promptTokens}) plus prefix length (0) must be < ${contextLength}`);
  if (promptTokens + minTokens > contextLength)
    return invalid(
      `input tokens (${promptTokens}) plus prefix length (0) plus min_new_tokens (${minTokens}) must be <= ${contextLength}`,
    );
  const saying = sayingOf(decoding?.guided);
  if (typeof saying === "object") return saying;
  const greedy = parameters?.method !== DecodingMethod.SAMPLE || sampling?.temperature === 0;
  const maxTokens = stopping?.maxNewTokens || undefined;
  return {
    job: {
      model: "tgis",
      prompt,
      seed: greedy ? 0n : sampling?.seed,
      maxTokens,
      minTokens,
      ignoreEos: false,
      choices: 1,
      saying,
      cacheSalt: "",
    },
    stops: stopping?.stopSequences ?? [],
    includesStop: stopping?.includeStopSequence ?? true,
    limitIsOurs: maxTokens === undefined || promptTokens + maxTokens > contextLength,
    timeLimitMs: stopping?.timeLimitMillis || undefined,
    seed: greedy ? undefined : sampling?.seed,
    echo: response?.inputText ? prompt : "",
    tokens: { generated: response?.generatedTokens ?? false, input: response?.inputTokens ?? false },
    detail: {
      logprobs: response?.tokenLogprobs ?? false,
      ranks: response?.tokenRanks ?? false,
      top: response?.topNTokens ?? 0,
    },
  };
}

function problemOf({ stopping, response, sampling, decoding }: Parameters, maxNewTokens: number): string | undefined {
  const penalty = decoding?.repetitionPenalty ?? 0;
  if (!(penalty >= 0 && penalty <= 2)) return "repetition_penalty must be > 0.0 and <= 2.0";
  const asked = stopping?.maxNewTokens ?? 0;
  if (asked > maxNewTokens) return `max_new_tokens must be <= ${maxNewTokens}`;
  if ((stopping?.minNewTokens ?? 0) > (asked || maxNewTokens)) return "min_new_tokens must be <= max_new_tokens";
  const stops = stopping?.stopSequences ?? [];
  if (stops.length > stopsMax || stops.some((stop) => stop === "" || stop.length > stopLengthMax))
    return `can specify at most ${stopsMax} non-empty stop sequences, each not more than ${stopLengthMax} UTF8 bytes`;
  const top = response?.topNTokens ?? 0;
  if (top > topMax) return `top_n_tokens (${top}) must be <= ${topMax}`;
  const wantsDetail = response?.tokenLogprobs || response?.tokenRanks || top > 0;
  if (wantsDetail && !response?.inputTokens && !response?.generatedTokens)
    return "must request input and/or generated tokens to request extra token detail";
  const temperature = sampling?.temperature ?? 0;
  if (temperature !== 0 && temperature < 0.05) return "temperature must be >= 0.05";
  const topP = sampling?.topP ?? 0;
  if (!(topP >= 0 && topP <= 1)) return "top_p must be > 0.0 and <= 1.0";
  return undefined;
}

function truncated(text: string, tokens: number): string {
  if (tokens === 0) return text;
  return Buffer.from(text)
    .subarray(-tokens * bytesPerToken)
    .toString("utf8");
}

/** What a guided answer says. A text that fits a pattern or a grammar the simulator cannot invent. */
function sayingOf(guided: DecodingParameters["guided"] | undefined): string | undefined | Refusal {
  switch (guided?.case) {
    case "format":
      return guided.value === DecodingParameters_ResponseFormat.JSON ? someObject : undefined;
    case "jsonSchema":
      return sampleText(guided.value);
    case "choice":
      return guided.value.choices[0] ?? invalid("choice must not be empty");
    case "regex":
    case "grammar":
      return invalid(`the simulator follows no ${guided.case}`);
    default:
      return undefined;
  }
}

/** A request that the server will not run as it is. */
export function invalid(text: string): Refusal {
  return { code: status.INVALID_ARGUMENT, text };
}

/** What Python's gRPC makes of an exception that the adapter did not expect. */
export function unexpected(text: string, exception = "ValueError"): Refusal {
  return { code: status.UNKNOWN, text: `Unexpected <class '${exception}'>: ${text}` };
}
