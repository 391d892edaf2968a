import { isCount } from "../counts.ts";
import type { CallCounts } from "../http/choice-calls.ts";
import { isObject, type JsonObject } from "../http/json.ts";

/**
 * What the API counted so far. Its counts are of all so far, so that later ones replace earlier ones; the prompt's are
 * three, of which two are those of its cache.
 */
export class MessageUsage {
  #input: number | undefined;
  #written = 0;
  #cached = 0;
  #output: number | undefined;

  /** @param isFinal whether what it says of the answer is of all of it: at its beginning it is a stand-in. */
  read(usage: unknown, isFinal: boolean): void {
    if (!isObject(usage)) return;
    this.#input = countIn(usage, "input_tokens") ?? this.#input;
    this.#written = countIn(usage, "cache_creation_input_tokens") ?? this.#written;
    this.#cached = countIn(usage, "cache_read_input_tokens") ?? this.#cached;
    if (isFinal) this.#output = countIn(usage, "output_tokens") ?? this.#output;
  }

  counts(): CallCounts {
    const isKnown = this.#input !== undefined;
    return {
      promptTokens: isKnown ? (this.#input ?? 0) + this.#written + this.#cached : undefined,
      cachedTokens: isKnown ? this.#cached : 0,
      completionTokens: this.#output,
    };
  }
}

function countIn(usage: JsonObject, name: string): number | undefined {
  const value = usage[name];
  return typeof value === "number" && isCount(value) ? value : undefined;
}
