/** Longer texts of engines are cut: an error is no place for a prompt. */
const problemLengthMax = 300;

/**
 * What of an engine's text is looked at. It may be megabytes long, and other streams wait while patterns are looked for in
 * it.
 */
const heardLengthMax = 4_096;

const tracebackBegin = "Traceback (most recent call last)";

/** As much of an engine's text as is looked at: its beginning, and the end of a traceback, where the error stands. */
export function heard(text: string): string {
  if (text.length <= heardLengthMax) return text;
  const beginning = text.slice(0, heardLengthMax);
  if (beginning.includes(tracebackBegin)) return `${tracebackBegin}\n${text.slice(-heardLengthMax)}`;
  return `${beginning}…`;
}

// No pattern here takes more time than the length of a text, or little more: what repeats in one is bounded, or begins
// where nothing like it stands before.
const wrapping = [
  /\[request id: [^\]]{0,200}\]\s*/g,
  /in ensemble '[^']*',\s*/g,
  // The Python binding appends where in its source an error was raised.
  /\n\nAt:\n[\s\S]*$/,
];

const secrets: readonly [RegExp, string][] = [
  [/\b[a-z][a-z0-9+.-]{0,31}:\/\/\S+/gi, "(address)"],
  [/\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b/g, "(address)"],
  [/\b(?:Bearer\s+\S+|sk-[\w-]{4,}|weir_\w+)/gi, "(key)"],
  [/(?<![\w.])(?:[A-Za-z]:)?(?:\/[\w.@+-]+){2,}(?::\d+)?/g, "(path)"],
];

/**
 * What an engine said, fit for a caller: without request ids, names of inner models, tracebacks, paths, addresses and
 * keys, on one line, cut to 300 characters.
 */
export function scrubbed(text: string): string {
  let kept = wrapping.reduce((rest, pattern) => rest.replace(pattern, ""), heard(text));
  if (kept.includes(tracebackBegin)) kept = lastLine(kept);
  for (const [pattern, instead] of secrets) kept = kept.replace(pattern, instead);
  kept = kept.replace(/[\s\p{Cc}]+/gu, " ").trim();
  return kept.length > problemLengthMax ? `${kept.slice(0, problemLengthMax)}…` : kept;
}

/** A shorter beginning of a key tells nothing. */
const keyPartMin = 4;

/** A scrubbed text without the engine's own key, whole or as much of it as the cut left. */
export function withoutKey(text: string, key: string): string {
  const kept = text.replaceAll(key, "(key)");
  if (!kept.endsWith("…")) return kept;
  for (let length = Math.min(key.length, kept.length) - 1; length >= keyPartMin; length--) {
    if (kept.endsWith(`${key.slice(0, length)}…`)) return `${kept.slice(0, -length - 1)}(key)`;
  }
  return kept;
}

function lastLine(traceback: string): string {
  const lines = traceback.split("\n").filter((line) => /^\S/.test(line) && !line.startsWith("Traceback"));
  // "package.module.SomeError: what happened": the class says nothing to a caller.
  return (lines.at(-1) ?? "the engine's code failed").replace(/^[\w.]+(?:Error|Exception): /, "");
}

/** The numbers in a context overflow; empty where the engine names none. */
export interface ContextOverflow {
  readonly limit: string;
  readonly promptTokens: string;
  readonly maxTokens: string;
}

const overflow =
  /context (?:length|window|size)|maximum (?:model|input|sequence|context) length|max(?:imum)?[ _](?:seq(?:uence)?|model|input)[ _]len|exceed_context_size|physical batch size|prompt length \(|must have less than \d+ tokens/i;
const excess =
  /given: \d|exceed|longer than|too (?:long|large|many)|however|larger than|requested|but the prompt contains|must be greater than 0/i;

const limits = [
  /(?:context|model|input|sequence) length(?: is| of)? \(?(\d+)/i,
  /context (?:size|window)(?: is| of)? \(?(\d+)/i,
  /max_(?:seq|model|input)_len(?:gth)?\w{0,31}(?: is| of)?[ =:(]+(\d+)/i,
  /current batch size: (\d+)/i,
  /max_num_tokens \((\d+)/i,
  /must have less than (\d+) tokens/i,
];
const prompts = [
  /(?<!\d)(\d+) in the (?:messages|prompt)/i,
  /(?<!\d)(\d+) (?:input|prompt) tokens/i,
  /(?:prompt|input|request) \((?:length )?(\d+)/i,
  /(?:prompt|input) length \((\d+)/i,
  /(?<!\d)(\d+) tokens from the input/i,
  /prompt_len` \((\d+)/i,
  /(?:contains|has) (?:at least )?(\d+) (?:input )?tokens/i,
  /given: (\d+)/i,
];
const answers = [
  /(?<!\d)(\d+) in the completion/i,
  /(?<!\d)(\d+) tokens for the completion/i,
  /too large: (\d+)/i,
  /max_new_tokens \((\d+)/i,
  /requested (\d+) output tokens/i,
];

/** Whether an engine's text says that prompt and answer do not fit the context, in the words of any engine we know. */
export function contextOverflow(said: string): ContextOverflow | undefined {
  const text = heard(said);
  if (!overflow.test(text) || !excess.test(text)) return undefined;
  return { limit: first(limits, text), promptTokens: first(prompts, text), maxTokens: first(answers, text) };
}

function first(patterns: readonly RegExp[], text: string): string {
  for (const pattern of patterns) {
    const found = pattern.exec(text)?.[1];
    if (found !== undefined) return found;
  }
  return "";
}

/** Whether an engine's text says that it has no room left. */
export function isFull(text: string): boolean {
  return /exceeds maximum queue size|request timeout expired|out of memory|queue is full|too many requests|overloaded|no available capacity/i.test(
    heard(text),
  );
}

/** Whether a server's text says that the engine behind it has died, perhaps of this very request. */
export function isDead(text: string): boolean {
  return /engine is dead|EngineDeadError|EngineCore (encountered an issue|died)/i.test(heard(text));
}

/** Whether an engine's text says that the model or its process is away, so that another replica may do. */
export function isAway(text: string): boolean {
  return /unknown model|no available versions|is not ready|not healthy|unhealthy|loading model|shutting down/i.test(
    heard(text),
  );
}
