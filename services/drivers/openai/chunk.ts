import { CountSource, type Delta, FinishReason, type TokenLogprob } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { type IdSource, systemIds } from "../../runtime/ids.ts";
import type { Answer } from "../answer.ts";
import { isCount } from "../counts.ts";
import { delta, deltaEvent } from "../events.ts";
import { type Failure, failed, overloaded, protocol } from "../failure.ts";
import { engineErrorIn, failureFromError } from "./errors.ts";
import { isObject, type JsonObject } from "../http/json.ts";
import { logprobsOf } from "./logprobs.ts";
import { ToolCalls } from "./tool-calls.ts";

/** The part of an {@link Answer} that a reader speaks to. */
export type Outlet = Pick<Answer, "choices" | "has" | "isFinished" | "accept" | "event" | "finish" | "count">;

const finishReasons: ReadonlyMap<string, FinishReason> = new Map([
  ["stop", FinishReason.STOP],
  ["eos_token", FinishReason.STOP],
  ["stop_sequence", FinishReason.STOP],
  ["repetition", FinishReason.STOP],
  ["length", FinishReason.LENGTH],
  ["max_tokens", FinishReason.LENGTH],
  ["tool_calls", FinishReason.TOOL_CALLS],
  ["function_call", FinishReason.TOOL_CALLS],
  ["content_filter", FinishReason.CONTENT_FILTER],
]);

/** Ends that are failures: the engine gave the request up, and says so in a 200. */
const gaveUp: ReadonlyMap<string, Failure> = new Map([
  ["abort", failed("it aborted the request")],
  ["error", failed("it gave the request up")],
  ["insufficient_system_resource", overloaded],
]);

export interface ReaderOptions {
  /** The server's usage is of all choices, and not of one. */
  readonly usageCountsChoices: boolean;
  /** Usage comes with the tokens that it counts: on every chunk, or with the whole answer. */
  readonly usageIsOfChunk: boolean;
}

/** Where a choice's delta is put together. */
interface Piece {
  readonly tokens: number;
  readonly tokenIds: number[];
  readonly logprobs: TokenLogprob[];
}

/**
 * Reads the JSON of one generation, chunk by chunk, or whole: a plain answer is read as one chunk, whose `message` or
 * `text` is all of the text.
 *
 * How many tokens a chunk holds is known from token ids, log probabilities, or usage that comes with every chunk. A
 * chunk is not a token: engines join several under load.
 */
export class ChunkReader {
  readonly #outlet: Outlet;
  readonly #options: ReaderOptions;
  readonly #ids: Pick<IdSource, "short">;
  /** Of the choices that called any. */
  readonly #calls: ToolCalls[] = [];
  #completionTokens = 0;

  /** @param ids for calls that the server gives no id. */
  constructor(outlet: Outlet, options: ReaderOptions, ids: Pick<IdSource, "short"> = systemIds) {
    this.#outlet = outlet;
    this.#options = options;
    this.#ids = ids;
  }

  /** Reads a chunk; returns why the generation failed, if it did. */
  read(json: unknown): Failure | undefined {
    if (!isObject(json)) return protocol("a chunk that is no JSON object");
    const error = engineErrorIn(json);
    if (error) return failureFromError(error);
    const { choices, usage } = json;
    const fresh = this.#usage(usage);
    if (!Array.isArray(choices)) return usage === undefined ? protocol("a chunk without choices") : undefined;
    this.#outlet.accept();
    for (const choice of choices as unknown[]) {
      const failure = this.#choice(choice, choices.length === 1 ? fresh : 0);
      if (failure) return failure;
    }
    return undefined;
  }

  #choice(raw: unknown, fresh: number): Failure | undefined {
    if (!isObject(raw)) return protocol("a choice that is no JSON object");
    const index = raw["index"] ?? 0;
    if (typeof index !== "number" || !this.#outlet.has(index)) return protocol("a choice that was not asked for");
    if (this.#outlet.isFinished(index)) return undefined;
    const whole = !isObject(raw["delta"]);
    const body = isObject(raw["delta"]) ? raw["delta"] : isObject(raw["message"]) ? raw["message"] : raw;
    const logprobs = raw["logprobs"] ? logprobsOf(raw["logprobs"]) : [];
    const tokenIds = tokenIdsOf(raw["token_ids"]);
    this.#body(index, body, whole, { tokens: tokenIds.length || logprobs.length || fresh, tokenIds, logprobs });
    const reason = raw["finish_reason"];
    if (typeof reason !== "string" || reason === "") return undefined;
    const failure = gaveUp.get(reason);
    if (failure) return failure;
    const stop = raw["stop_reason"];
    this.#outlet.finish(index, finishReasons.get(reason) ?? FinishReason.STOP, typeof stop === "string" ? stop : "");
    return undefined;
  }

  /** Tells what a choice's delta holds. The tokens belong to the first part of it. */
  #body(index: number, body: JsonObject, whole: boolean, piece: Piece): void {
    let rest = piece;
    const tell = (fragment: Delta["fragment"]) => {
      this.#tell(index, fragment, rest);
      rest = nothing;
    };
    const reasoning = textOf(body["reasoning"]) || textOf(body["reasoning_content"]);
    if (reasoning !== "") tell({ case: "reasoning", value: reasoning });
    const content = textOf(body["content"]) || textOf(body["text"]);
    if (content !== "") tell({ case: "text", value: content });
    const refusal = textOf(body["refusal"]);
    if (refusal !== "") tell({ case: "refusal", value: refusal });
    const calls = body["tool_calls"];
    if (Array.isArray(calls)) {
      const known = (this.#calls[index] ??= new ToolCalls(this.#ids));
      for (const fragment of known.read(calls, whole)) tell({ case: "toolCall", value: fragment });
    }
    if (rest.tokens > 0) tell({ case: "text", value: "" });
  }

  #tell(index: number, fragment: Delta["fragment"], piece: Piece): void {
    const told = delta(index, fragment, piece.tokens);
    if (piece.tokenIds.length > 0) told.tokenIds = piece.tokenIds;
    if (piece.logprobs.length > 0) told.logprobs = piece.logprobs;
    this.#outlet.event(deltaEvent(told));
  }

  /** Takes the counts; returns how many completion tokens are new since the last ones. */
  #usage(raw: unknown): number {
    if (!isObject(raw)) return 0;
    const prompt = countOf(raw["prompt_tokens"]);
    const completion = countOf(raw["completion_tokens"]);
    if (prompt === undefined && completion === undefined) return 0;
    const promptDetails = raw["prompt_tokens_details"];
    const completionDetails = raw["completion_tokens_details"];
    const single = this.#outlet.choices === 1;
    const counted = completion !== undefined && (single || this.#options.usageCountsChoices);
    this.#outlet.count({
      promptTokens: prompt ?? 0,
      completionTokens: counted ? completion : 0,
      cachedTokens: (isObject(promptDetails) && countOf(promptDetails["cached_tokens"])) || 0,
      reasoningTokens: (isObject(completionDetails) && countOf(completionDetails["reasoning_tokens"])) || 0,
      promptSource: prompt === undefined ? CountSource.UNSPECIFIED : CountSource.ENGINE,
      completionSource: counted ? CountSource.ENGINE : CountSource.UNSPECIFIED,
    });
    const fresh = Math.max(0, (completion ?? 0) - this.#completionTokens);
    this.#completionTokens += fresh;
    return single && this.#options.usageIsOfChunk ? fresh : 0;
  }
}

const nothing: Piece = { tokens: 0, tokenIds: [], logprobs: [] };

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function tokenIdsOf(value: unknown): number[] {
  return Array.isArray(value) ? value.filter((id): id is number => Number.isInteger(id)) : [];
}

function countOf(value: unknown): number | undefined {
  return typeof value === "number" && isCount(value) ? value : undefined;
}
