import { create } from "@bufbuild/protobuf";
import type { Tokenizer } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import {
  type CountTokensRequest,
  type CountTokensResponse,
  type GenerateRequest,
  GenerateRequestSchema,
} from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { UnaryAttempt } from "../../drivers/unary.ts";
import { fail, WeirError } from "../../runtime/errors/fail.ts";
import type { ModelEntry } from "../fleet/fleet.ts";
import { checkMessages } from "../message-members.ts";
import type { Encode, Tokenizers } from "../../drivers/tokens/tokenizers.ts";
import { isPending, type PendingPrompt, type Prompt, type PromptRenderer } from "../prompt/chat-template.ts";
import { seam, unseen } from "../prompt/control-text.ts";
import { getsIds } from "../prompt/prompt-ids.ts";
import { tokenizerFailed } from "../prompt/tokenizer-failed.ts";
import { bit, countsConversations, neededBy } from "../requirement.ts";
import type { UnaryOperation, UnaryPlace } from "./operation.ts";
import { anyHas, unsupported } from "./unsupported.ts";

/** Nothing is billed: the ledger is told of the request, and of no tokens. */
const nothing = Object.freeze({ bytes: 0, tokens: 0 });

/** What stands in a conversation and can't be counted as text has to reach the engine as it is. */
const asItIs = bit(Feature.CONVERSATION);

/** Counting: how many tokens a prompt is. */
export function countingTokens(
  renderer: PromptRenderer,
  tokenizers: Tokenizers,
): UnaryOperation<CountTokensRequest, number, CountTokensResponse> {
  function rendered(
    owner: string,
    request: CountTokensRequest,
    { model }: ModelEntry,
    splitter: string,
  ): Prompt | PendingPrompt {
    const { chatTemplate, controlText } = model;
    if (!chatTemplate) return fail(ErrorReason.CHAT_TEMPLATE_MISSING, { model: request.model });
    return renderer.render(owner, chatTemplate, asGeneration(request), {}, controlText, splitter);
  }

  async function counted(
    { model, input }: CountTokensRequest,
    source: Tokenizer,
    seamed: string | undefined,
    waits: Pick<Encode, "owner" | "signal">,
  ) {
    try {
      const tokenizer = tokenizers.of(source);
      // As a generation has them.
      if (seamed !== undefined) return (await tokenizer.encode(seamed, { ...waits, special: false, seam })).length;
      return (await tokenizer.encode(input.case === "prompt" ? input.value : "", { ...waits, special: true })).length;
    } catch (thrown) {
      throw tokenizerFailed(model, thrown);
    }
  }

  return {
    name: "count_tokens",
    operation: undefined,
    needed(request) {
      if (request.input.case === "prompt") return bit(Feature.COUNT_TOKENS);
      const parts = neededBy(asGeneration(request)) & asItIs;
      return parts === 0 ? countsConversations : countsConversations | bit(Feature.COUNT_CONVERSATION);
    },
    size: () => nothing,
    inputs: () => 1,
    param: "messages",
    plan(request, entry) {
      return checkMessages(asGeneration(request), entry.pool) ?? { entry, extras: {}, ignored: [] };
    },
    lacking: ({ model }, sets) =>
      anyHas(sets, Feature.COUNT_TOKENS)
        ? fail(ErrorReason.CHAT_TEMPLATE_MISSING, { model })
        : unsupported("model", "counting tokens", model),
    answersHere: (attempt, place) => tokenizerFor(attempt, place) !== undefined,
    ask(driver, attempt, place, signal) {
      const { request } = attempt;
      const { entry, projectId } = place;
      const native = getsAsItIs(request, place);
      const tokenizer = tokenizerFor(attempt, place);
      const splitter = tokenizer && getsIds(attempt.model, entry.model) ? seam : unseen;
      const { countTokens } = driver;
      const count = tokenizer
        ? (prompt: string | undefined) => counted(request, tokenizer, prompt, { owner: projectId, signal })
        : countTokens && ((prompt: string | undefined) => countTokens.call(driver, { ...attempt, prompt }, signal));
      return count && withPrompt(native ? undefined : rendered(projectId, request, entry, splitter), count, signal);
    },
    tokens: () => undefined,
    respond: (_request, tokens, started) => ({
      $typeName: "weir.router.v1.CountTokensResponse",
      started,
      tokens: BigInt(tokens),
    }),
  };
}

/** Whether the engine takes what is to be counted as it is: no template makes a text of it. */
function getsAsItIs({ input }: CountTokensRequest, { features }: UnaryPlace): boolean {
  return input.case !== "conversation" || (features & bit(Feature.COUNT_CONVERSATION)) !== 0;
}

/** What counts here; undefined: the engine does. */
function tokenizerFor({ request, model }: UnaryAttempt<CountTokensRequest>, place: UnaryPlace): Tokenizer | undefined {
  const countsTalk = request.input.case === "conversation" && getsAsItIs(request, place);
  const engineCounts = model.features.includes(Feature.COUNT_TOKENS) || countsTalk;
  return engineCounts ? undefined : place.entry.model.tokenizer;
}

/** Goes on with a prompt, which may have to be waited for. */
function withPrompt(
  prompt: Prompt | PendingPrompt | undefined,
  next: (prompt: string | undefined) => Promise<number>,
  signal: AbortSignal,
): Promise<number> {
  if (prompt instanceof WeirError) throw prompt;
  if (prompt === undefined || !isPending(prompt)) return next(prompt);
  const { drop } = prompt;
  signal.addEventListener("abort", drop, { once: true });
  return prompt.prompt.then((ready) => {
    signal.removeEventListener("abort", drop);
    return withPrompt(ready, next, signal);
  });
}

/** The request to generate from the same prompt. */
function asGeneration({ model, input, tools }: CountTokensRequest): GenerateRequest {
  if (input.case === "conversation") return create(GenerateRequestSchema, { model, input, tools });
  return create(GenerateRequestSchema, { model, input: { case: "prompt", value: input.value ?? "" }, tools });
}
