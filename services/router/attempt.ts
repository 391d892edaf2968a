import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateRequest } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Attempt } from "../drivers/driver.ts";
import type { Counts } from "../drivers/events.ts";
import type { Tokenizers } from "../drivers/tokens/tokenizers.ts";
import type { AnswerReader } from "./answer/answer-reader.ts";
import { plainAnswer } from "./answer/plain-answer.ts";
import { fail, WeirError } from "../runtime/errors/fail.ts";
import type { Seat } from "./fleet/seat.ts";
import { formOf } from "./form/asked-form.ts";
import { FormCheck } from "./form/form-check.ts";
import type { SchemaChecker } from "./form/schema-checker.ts";
import { type PromptSize, resolveMaxTokens, sizeOfText } from "./max-tokens.ts";
import type { AnswerEstimate } from "./metering/answer-estimate.ts";
import { createMeter, type Meter, type PromptBytes } from "./metering/meter.ts";
import type { TokenEstimate } from "./metering/token-estimate.ts";
import { contextOf } from "./models.ts";
import type { Plan } from "./plan.ts";
import { isPending, type PendingPrompt, type Prompt, type PromptRenderer } from "./prompt/chat-template.ts";
import { seam, unseen } from "./prompt/control-text.ts";
import { type Complete, completion, getsIds } from "./prompt/prompt-ids.ts";
import { promptBytes } from "./prompt/prompt-bytes.ts";
import type { Ask } from "./quota/desk.ts";
import type { Grant } from "./quota/grant.ts";
import { takesConversation } from "./requirement.ts";

/** What attempts are built with. */
export interface AttemptDeps {
  readonly renderer: PromptRenderer;
  readonly tokenizers: Tokenizers;
  readonly schemas: SchemaChecker;
  readonly estimate: TokenEstimate;
  readonly answers: AnswerEstimate;
  /** What separates a project in engines' prefix caches. */
  readonly cacheSalt: (projectId: string) => string;
}

/** What the caller's limits have for an answer. */
export type AnswerBounds = Pick<Grant, "outputTokensMax" | "mayCut">;

/** A try that is ready to go. */
export interface ReadyAttempt {
  readonly attempt: Attempt;
  readonly meter: Meter;
  /** Adds what takes time to find out; undefined: the attempt is complete. */
  readonly complete: Complete | undefined;
  /** Finds calls and thought in an answer that is plain text; undefined: it is told as it comes. */
  readonly reader: AnswerReader | undefined;
  /** Holds the answer to the form that was asked for; undefined: none was, or the engine sees to it. */
  readonly form: FormCheck | undefined;
  /** Members that this engine's model can't be held to. */
  readonly ignored: readonly string[];
}

/** Builds the tries of one request. What is costly, the prompt's size and text, is found out once. */
export class AttemptBuilder {
  readonly #deps: AttemptDeps;
  readonly #request: GenerateRequest;
  readonly #projectId: string;
  #bytes: PromptBytes | undefined;
  #rendered: { readonly plan: Plan; readonly byIds: boolean; readonly prompt: Prompt } | undefined;
  #pending: PendingPrompt | undefined;

  constructor(deps: AttemptDeps, request: GenerateRequest, projectId: string) {
    this.#deps = deps;
    this.#request = request;
    this.#projectId = projectId;
  }

  /** What is wrong with the request wherever the model is served; undefined: nothing. */
  problemOf(plan: Plan): WeirError | undefined {
    const most = this.#mostTokens(plan, contextOf(plan.entry), false);
    return most instanceof WeirError ? most : undefined;
  }

  /**
   * Makes text of the conversation, for an engine that takes no other.
   *
   * @returns a promise where that takes a while; undefined: {@link build} may follow.
   */
  prepare(plan: Plan, seat: Seat): Promise<void> | undefined {
    if (this.#request.input.case !== "conversation" || takesConversation(seat.features)) return undefined;
    const byIds = getsIds(seat.model, plan.entry.model);
    if (this.#rendered?.plan === plan && this.#rendered.byIds === byIds) return undefined;
    const keep = (prompt: Prompt): void => void (this.#rendered = { plan, byIds, prompt });
    const made = this.#render(plan, byIds);
    if (isPending(made)) {
      this.#pending = made;
      return made.prompt.then(keep);
    }
    keep(made);
    return undefined;
  }

  #render({ entry: { model }, extras }: Plan, byIds: boolean): Prompt | PendingPrompt {
    const { chatTemplate, controlText } = model;
    if (!chatTemplate) return fail(ErrorReason.CHAT_TEMPLATE_MISSING, { model: this.#request.model });
    const settings = extras["chat_template_kwargs"];
    const given = isSettings(settings) ? settings : {};
    return this.#deps.renderer.render(
      this.#projectId,
      chatTemplate,
      this.#request,
      given,
      controlText,
      byIds ? seam : unseen,
    );
  }

  /**
   * The try at one replica, for which the request was prepared.
   *
   * @param id ours, of this try.
   * @param grant what the caller's limits have for the answer.
   */
  build(plan: Plan, seat: Seat, id: string, grant: AnswerBounds): ReadyAttempt | WeirError {
    const { pool, model } = plan.entry;
    const request = grant.mayCut && !plan.request.stream ? { ...plan.request, stream: true } : plan.request;
    const context = Number(seat.model.contextLength) || Number(model.contextLength);
    const most = this.#mostTokens(plan, context, mustBeTold(seat));
    if (most instanceof WeirError) return most;
    const maxTokens = this.#asksNothing ? 0 : capped(most, grant.outputTokensMax, this.#choices);
    const seamed = takesConversation(seat.features) ? undefined : this.#rendered?.prompt;
    if (seamed instanceof WeirError) return seamed;
    const prompt = seamed?.replaceAll(seam, "");
    const cacheSalt = pool.hosted ? "" : this.#deps.cacheSalt(this.#projectId);
    const base = { id, model: seat.model, prompt, maxTokens, cacheSalt };
    const asked = formOf({ request, extras: plan.extras }, seat.features, this.#deps.schemas, this.#projectId);
    const read = readAs({ ...plan, extras: asked.extras }, seat, asked.request, prompt, base);
    return {
      ...read,
      form: asked.rules && new FormCheck(asked.rules),
      complete: after(
        asked.prepare,
        completion(this.#deps.tokenizers, { attempt: read.attempt, model, seamed, context, owner: this.#projectId }),
        read.attempt,
      ),
      meter: createMeter({
        prompt: this.#size(),
        bytesPerToken: this.#deps.estimate.bytesPerToken(model.id),
        promptMax: context,
        onlyEcho: this.#asksNothing,
        // Left to the engine, an answer still has to fit into the context.
        completionMax: (maxTokens ? maxTokens + endTokens : context) * this.#choices,
      }),
    };
  }

  /** What the request may use, for its limits: what it is expected to, and what it can't do without. */
  uses(plan: Plan): Pick<Ask, "expected" | "least"> {
    const { model } = plan.entry;
    const { least, likely } = this.#promptSize(model.id);
    const choices = this.#choices;
    const stated = (this.#request.sampling?.maxTokens ?? 0) * choices;
    const longest = Number(model.maxOutputTokens) || Number.POSITIVE_INFINITY;
    const answer = this.#asksNothing ? 0 : stated || Math.min(longest, this.#deps.answers.likely(model.id)) * choices;
    return {
      expected: { inputTokens: likely, outputTokens: answer },
      least: { inputTokens: least, outputTokens: stated },
    };
  }

  /** An answer is complete. @param promptFromEngine the engine counted the prompt. */
  learn(modelId: string, { promptTokens, completionTokens }: Counts, promptFromEngine: boolean): void {
    if (promptFromEngine) this.#deps.estimate.learn(modelId, this.#size().bytes, promptTokens);
    if (!this.#asksNothing) this.#deps.answers.learn(modelId, completionTokens / this.#choices);
  }

  /** It is about its prompt only, which is echoed. */
  get #asksNothing(): boolean {
    return this.#request.sampling?.maxTokens === 0;
  }

  get #choices(): number {
    return Math.max(1, this.#request.choices, this.#request.bestOf);
  }

  /** No other try will follow: long prompts need not stay in memory while the answer streams. */
  forget(): void {
    this.#rendered = undefined;
    this.#pending?.drop();
    this.#pending = undefined;
  }

  #size(): PromptBytes {
    this.#bytes ??= promptBytes(this.#request);
    return this.#bytes;
  }

  #mostTokens(plan: Plan, context: number, told: boolean): number | WeirError {
    const { model } = plan.entry;
    return resolveMaxTokens({
      requested: this.#request.sampling?.maxTokens ?? 0,
      context,
      outputMax: Number(model.maxOutputTokens),
      mustBeTold: told,
      prompt: this.#promptSize(model.id),
      param: this.#request.input.case === "conversation" ? "messages" : "prompt",
    });
  }

  #promptSize(modelId: string): PromptSize {
    const { bytes, tokens } = this.#size();
    if (tokens !== undefined) return { least: tokens, likely: tokens };
    return sizeOfText(bytes, this.#deps.estimate.bytesPerToken(modelId));
  }
}

/** What completes an attempt, once something else was found out. */
function after(
  prepare: (() => Promise<void>) | undefined,
  complete: Complete | undefined,
  attempt: Attempt,
): Complete | undefined {
  if (!prepare) return complete;
  return async (signal) => {
    await prepare();
    return complete ? await complete(signal) : attempt;
  };
}

/** What the engine is asked for, and how its answer is read. */
function readAs(
  { entry, extras }: Plan,
  seat: Seat,
  request: GenerateRequest,
  prompt: string | undefined,
  base: Omit<Attempt, "request" | "extras">,
): Pick<ReadyAttempt, "attempt" | "reader" | "ignored"> {
  if (prompt === undefined) return { attempt: { ...base, request, extras }, reader: undefined, ignored: [] };
  const plain = plainAnswer(entry.model, request, prompt);
  const attempt = { ...base, request: plain.request, extras: extrasOfPrompt(extras, seat, plain.reader !== undefined) };
  return { attempt, reader: plain.reader, ignored: plain.ignored };
}

/** The template has taken its settings. Markers that are special tokens are only seen if the engine writes them. */
function extrasOfPrompt(extras: Plan["extras"], seat: Seat, isRead: boolean): Plan["extras"] {
  const { chat_template_kwargs: _, ...rest } = extras;
  const { dialect } = seat.replica;
  const isTold =
    dialect === Dialect.VLLM || dialect === Dialect.TGI || seat.model.flavour === "vllm" || seat.model.needsTokenizer;
  return isRead && isTold ? { ...rest, skip_special_tokens: false } : rest;
}

/** Of a cap on all choices each gets its part, and at least one token. */
function capped(most: number, answerMax: number, choices: number): number {
  if (answerMax === 0) return most;
  const each = Math.max(1, Math.floor(answerMax / choices));
  return most > 0 ? Math.min(most, each) : each;
}

/** Engines count the token that ended a choice, or not. */
const endTokens = 8;

/** Triton's engines have no sensible default of their own. */
function mustBeTold(seat: Seat): boolean {
  return seat.replica.dialect === Dialect.TRITON;
}

function isSettings(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
