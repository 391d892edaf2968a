import type { Model } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Attempt, PromptTokens } from "../../drivers/driver.ts";
import type { Tokenizers } from "../../drivers/tokens/tokenizers.ts";
import { fail } from "../../runtime/errors/fail.ts";
import { tokenizerFailed } from "./tokenizer-failed.ts";

/** Makes token ids of prompts, for engines that take no other. */
export class PromptEncoder {
  readonly #tokenizers: Tokenizers;

  constructor(tokenizers: Tokenizers) {
    this.#tokenizers = tokenizers;
  }

  /**
   * What completes an attempt; undefined: nothing has to.
   *
   * @param context tokens of prompt and answer together; 0: not known.
   */
  completion(attempt: Attempt, model: Model, context: number): (() => Promise<Attempt>) | undefined {
    if (!attempt.model.needsTokenizer) return undefined;
    return async () => {
      try {
        return bounded({ ...attempt, tokens: await this.#tokensOf(attempt, model) }, context);
      } catch (thrown) {
        throw tokenizerFailed(attempt.request.model, thrown);
      }
    };
  }

  async #tokensOf({ request, prompt }: Attempt, { id, tokenizer: source }: Model): Promise<PromptTokens> {
    if (!source) throw fail(ErrorReason.TOKENIZER_MISSING, { model: id });
    const tokenizer = this.#tokenizers.of(source);
    const { input } = request;
    if (input.case === "tokenIds")
      return { ids: Uint32Array.from(input.value.ids), vocabulary: await tokenizer.vocabulary };
    // A template says itself which tokens begin a prompt; a prompt of the caller's gets the model's own.
    const ids = await tokenizer.encode(prompt ?? (input.case === "prompt" ? input.value : ""), prompt === undefined);
    return { ids, vocabulary: await tokenizer.vocabulary };
  }
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
