import type { MessageInitShape } from "@bufbuild/protobuf";
import type { DecodingParametersSchema, GenerateRequestSchema } from "../../../gen/ts/engine/vllm/inference_pb.ts";
import type { Sampling } from "../../../gen/ts/weir/router/v1/generation_pb.ts";
import type { Attempt } from "../driver.ts";
import { type Guide, guideFromExtras } from "../guide.ts";
import type { VllmInterface } from "./interface.ts";

type Request = MessageInitShape<typeof GenerateRequestSchema>;
type Decoding = MessageInitShape<typeof DecodingParametersSchema>;

/** The request as the server wants it, and the names of extras that it has no place for. */
export interface Built {
  readonly request: Request;
  readonly ignored: readonly string[];
}

// A server says how long its context is; this is for one that does not.
const maxTokensFallback = 4_096;

/** Builds the request that continues a prompt. Here everything of our sampling has a place. */
export function buildRequest(attempt: Attempt, prompt: NonNullable<Request["prompt"]>, { lora }: VllmInterface): Built {
  const { sampling, responseFormat } = attempt.request;
  const { guide, truncate, ignored } = guideFromExtras(responseFormat, attempt.extras);
  const own = ownExtras(attempt.extras);
  const { topP = 0, topK = 0, minP = 0, seed } = sampling ?? {};
  const request: Request = {
    requestId: attempt.id,
    model: lora === "" ? attempt.model.engineModel : "",
    loraName: lora,
    prompt,
    // Not said it would be greedy, and not 1 as everywhere else.
    temperature: sampling?.temperature ?? 1,
    sampling: { topP, topK: Math.max(0, topK), minP, ...(seed === undefined ? {} : { seed }) },
    decoding: decodingOf(sampling, guide, own.allowedTokenIds),
    stopping: {
      // Not said it would be as many as fit; more than fit are cut without a word.
      maxNewTokens:
        attempt.maxTokens || sampling?.maxTokens || Number(attempt.model.contextLength) || maxTokensFallback,
      minNewTokens: sampling?.minTokens ?? 0,
      stopTokenIds: sampling?.stopTokenIds ?? [],
      stopStrings: sampling?.stop ?? [],
      ignoreEos: sampling?.ignoreEos ?? false,
    },
    response: { outputTokenIds: own.tokenIds, ...own.special },
    kv: { cacheSalt: attempt.cacheSalt },
    truncatePromptTokens: truncate,
    priority: own.priority,
  };
  return { request, ignored: ignored.filter((name) => !own.taken.includes(name)) };
}

function decodingOf(sampling: Sampling | undefined, guide: Guide | undefined, allowedTokenIds: number[]): Decoding {
  return {
    presencePenalty: sampling?.presencePenalty ?? 0,
    frequencyPenalty: sampling?.frequencyPenalty ?? 0,
    repetitionPenalty: sampling?.repetitionPenalty ?? 0,
    logitBias: sampling?.logitBias ?? {},
    allowedTokenIds,
    structuredOutput: structuredOutputOf(guide),
  };
}

function structuredOutputOf(guide: Guide | undefined): NonNullable<Decoding["structuredOutput"]> {
  switch (guide?.kind) {
    case "object":
      return { case: "jsonObject", value: true };
    case "json":
      return { case: "json", value: guide.schema };
    case "choice":
      return { case: "choice", value: { choices: [...guide.choices] } };
    case "regex":
      return { case: "regex", value: guide.pattern };
    case "grammar":
      return { case: "grammar", value: guide.grammar };
    default:
      return { case: undefined };
  }
}

interface OwnExtras {
  readonly tokenIds: boolean;
  readonly special: { readonly skipSpecialTokens?: boolean };
  readonly allowedTokenIds: number[];
  readonly priority: number;
  readonly taken: readonly string[];
}

/** Extras that are members of this protocol. */
function ownExtras(extras: Readonly<Record<string, unknown>>): OwnExtras {
  const taken: string[] = [];
  const take = <T>(name: string, fits: (value: unknown) => value is T): T | undefined => {
    const value = extras[name];
    if (!fits(value)) return undefined;
    taken.push(name);
    return value;
  };
  const skipSpecialTokens = take("skip_special_tokens", isFlag);
  return {
    tokenIds: take("return_token_ids", isFlag) ?? false,
    special: skipSpecialTokens === undefined ? {} : { skipSpecialTokens },
    allowedTokenIds: take("allowed_token_ids", areIds) ?? [],
    priority: take("priority", isInt32) ?? 0,
    taken,
  };
}

function isFlag(value: unknown): value is boolean {
  return typeof value === "boolean";
}

function isInt32(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && Math.abs(value) < 2 ** 31;
}

function areIds(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((id) => isInt32(id) && id >= 0);
}
