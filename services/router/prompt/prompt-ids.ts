import { create } from "@bufbuild/protobuf";
import { ControlText, type Model } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { Feature, type ReplicaModel } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { TokenIdsSchema } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Attempt, PromptTokens } from "../../drivers/driver.ts";
import type { Tokenizers } from "../../drivers/tokens/tokenizers.ts";
import { fail } from "../../runtime/errors/fail.ts";
import { seam } from "./control-text.ts";
import { tokenizerFailed } from "./tokenizer-failed.ts";

/**
 * Whether an engine gets token ids of a model's prompts: it takes no other; or it would find control tokens in what callers
 * write, which is cut where it spells one before it is encoded.
 */
export function getsIds({ needsTokenizer, features }: ReplicaModel, { tokenizer, controlText }: Model): boolean {
  if (needsTokenizer) return true;
  return tokenizer !== undefined && features.includes(Feature.TOKEN_IDS) && controlText !== ControlText.ALLOW;
}

/** What an attempt lacks. */
export interface Unfinished {
  readonly attempt: Attempt;
  readonly model: Model;
  /** A rendered conversation, with seams that no token may reach over. */
  readonly seamed: string | undefined;
  /** Tokens of prompt and answer together; 0: not known. */
  readonly context: number;
  /** Whose long prompts take turns with those of others. */
  readonly owner: string;
}

/** Completes an attempt, unless nobody waits for it any more. Rejects with a WeirError. */
export type Complete = (signal: AbortSignal) => Promise<Attempt>;

/** What completes an attempt with the token ids of its prompt; undefined: nothing has to. */
export function completion(tokenizers: Tokenizers, unfinished: Unfinished): Complete | undefined {
  const { attempt, model, seamed, context } = unfinished;
  const { needsTokenizer } = attempt.model;
  if (!needsTokenizer && (seamed === undefined || !getsIds(attempt.model, model))) return undefined;
  return async (signal) => {
    try {
      const tokens = await tokensOf(tokenizers, unfinished, signal);
      return needsTokenizer ? bounded({ ...attempt, tokens }, context) : asIds(attempt, tokens);
    } catch (thrown) {
      throw tokenizerFailed(attempt.request.model, thrown);
    }
  };
}

async function tokensOf(
  tokenizers: Tokenizers,
  { attempt, model, seamed, owner }: Unfinished,
  signal: AbortSignal,
): Promise<PromptTokens> {
  if (!model.tokenizer) throw fail(ErrorReason.TOKENIZER_MISSING, { model: model.id });
  const { input } = attempt.request;
  const tokenizer = tokenizers.of(model.tokenizer);
  const vocabulary = await tokenizer.vocabulary;
  if (input.case === "tokenIds") return { ids: Uint32Array.from(input.value.ids), vocabulary };
  // A template says itself which tokens begin a prompt; a prompt of the caller's gets the model's own.
  const [text, how] =
    seamed !== undefined
      ? [seamed, { special: false, seam }]
      : [input.case === "prompt" ? input.value : "", { special: true }];
  return { ids: await tokenizer.encode(text, { owner, signal, ...how }), vocabulary };
}

/** The same attempt with a prompt of ids, for an engine that takes texts too. */
function asIds(attempt: Attempt, { ids }: PromptTokens): Attempt {
  const value = create(TokenIdsSchema, { ids: Array.from(ids) });
  return { ...attempt, prompt: undefined, request: { ...attempt.request, input: { case: "tokenIds", value } } };
}

/** The length of the prompt is known now: what it leaves of the context is the most that the answer may have. */
function bounded(attempt: Attempt, context: number): Attempt {
  const length = attempt.tokens?.ids.length ?? 0;
  const { maxTokens, request } = attempt;
  if (context === 0 || length + Math.max(1, maxTokens) <= context) return attempt;
  if (length < context && !request.sampling?.maxTokens) return { ...attempt, maxTokens: context - length };
  const param = request.input.case === "conversation" ? "messages" : "prompt";
  const told = { limit: String(context), prompt_tokens: String(length), max_tokens: String(maxTokens) };
  throw fail(ErrorReason.CONTEXT_LENGTH_EXCEEDED, { param, ...told });
}
