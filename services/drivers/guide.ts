import type { ResponseFormat } from "../../gen/ts/weir/router/v1/generation_pb.ts";

/** A form that an answer must have, of those that engines enforce. */
export type Guide =
  | { readonly kind: "object" }
  | { readonly kind: "json"; readonly schema: string }
  | { readonly kind: "choice"; readonly choices: readonly string[] }
  | { readonly kind: "regex"; readonly pattern: string }
  | { readonly kind: "grammar"; readonly grammar: string };

/** The extra that asks for a form, as vLLM takes it over HTTP. */
export const structuredOutputs = "structured_outputs";

/** What of a request's form and extras vLLM's gRPC protocols have a place for. */
export interface Guided {
  readonly guide: Guide | undefined;
  /** Tokens of the prompt's end that are kept; 0: all. */
  readonly truncate: number;
  /** Names of extras without a place. */
  readonly ignored: readonly string[];
}

/**
 * Reads the form of the answer: the request's own, else `structured_outputs` as vLLM takes it over HTTP (of which the
 * first member that is known counts); and `truncate_prompt_tokens`.
 */
export function guideFromExtras(format: ResponseFormat | undefined, extras: Readonly<Record<string, unknown>>): Guided {
  let guide = guideFromFormat(format);
  let truncate = 0;
  const ignored: string[] = [];
  for (const [name, value] of Object.entries(extras)) {
    const structured = name === structuredOutputs && guide === undefined ? guideFrom(value) : undefined;
    if (structured) guide = structured;
    else if (name === "truncate_prompt_tokens" && isPositive(value)) truncate = value;
    else ignored.push(name);
  }
  return { guide, truncate, ignored };
}

/** The pattern of which each of the texts is a match, and nothing else. */
export function patternOf(texts: readonly string[]): string {
  return texts.map((text) => `(?:${text.replace(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`)})`).join("|");
}

function guideFromFormat(format: ResponseFormat | undefined): Guide | undefined {
  if (format?.form.case === "jsonObject") return { kind: "object" };
  if (format?.form.case === "jsonSchema") return { kind: "json", schema: format.form.value.schemaJson || "{}" };
  return undefined;
}

function guideFrom(given: unknown): Guide | undefined {
  if (typeof given !== "object" || given === null) return undefined;
  const { json, json_object, regex, choice, grammar }: Readonly<Record<string, unknown>> = { ...given };
  if (typeof json === "string") return { kind: "json", schema: json };
  if (typeof json === "object" && json !== null) return { kind: "json", schema: JSON.stringify(json) };
  if (json_object === true) return { kind: "object" };
  if (typeof regex === "string") return { kind: "regex", pattern: regex };
  if (typeof grammar === "string") return { kind: "grammar", grammar };
  if (!Array.isArray(choice) || choice.length === 0 || !choice.every((one) => typeof one === "string"))
    return undefined;
  return { kind: "choice", choices: choice };
}

function isPositive(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 && value < 2 ** 31;
}
