import type { TokenLogprob, TopLogprob } from "../../../gen/ts/weir/router/v1/event_pb.ts";

/** JSON has no negative infinity: this is the value that OpenAI sends for a token that could not have come. */
const impossible = -9999;

const finite = (logprob: number) => (Number.isFinite(logprob) ? logprob : impossible);

/** Null for a token that has none, as the first one of an echoed prompt. */
const valueOf = ({ logprob, unscored }: TokenLogprob) => (unscored ? null : finite(logprob));

// An answer may have a hundred thousand of them: each becomes text as it comes, and nothing else is made on the way.

/** One token of `logprobs.content`, as JSON. */
export function chatLogprobJson(of: TokenLogprob): string {
  const tops = of.top.map((top) => `{${scoredJson(top, finite(top.logprob))}}`).join(",");
  return `{${scoredJson(of, valueOf(of))},"top_logprobs":[${tops}]}`;
}

function scoredJson({ token, bytes }: TokenLogprob | TopLogprob, logprob: number | null): string {
  const numbers = bytes.length > 0 ? `[${bytes.join(",")}]` : "null";
  return `"token":${JSON.stringify(token)},"logprob":${logprob},"bytes":${numbers}`;
}

/** `logprobs` of a completion: lists in step, one entry a token, each as JSON. */
export interface CompletionLogprobs {
  readonly tokens: string[];
  readonly values: string[];
  readonly tops: string[];
  readonly offsets: string[];
}

export function emptyCompletionLogprobs(): CompletionLogprobs {
  return { tokens: [], values: [], tops: [], offsets: [] };
}

/** Adds tokens, the first of which begins `offset` characters into the choice's text. Returns how much JSON they are. */
export function addCompletionLogprobs(
  to: CompletionLogprobs,
  logprobs: readonly TokenLogprob[],
  offset: number,
): number {
  let at = offset;
  let length = 0;
  for (const of of logprobs) {
    const { token, top } = of;
    const entry = [JSON.stringify(token), String(valueOf(of)), alternativesJson(top), String(at)] as const;
    to.tokens.push(entry[0]);
    to.values.push(entry[1]);
    to.tops.push(entry[2]);
    to.offsets.push(entry[3]);
    for (const text of entry) length += text.length + 1;
    at += token.length;
  }
  return length;
}

/** Two alternatives may read alike: an object has one of them. */
function alternativesJson(top: readonly TopLogprob[]): string {
  if (top.length === 0) return "null";
  return JSON.stringify(Object.fromEntries(top.map(({ token, logprob }) => [token, finite(logprob)])));
}

/** The JSON of them, piece by piece. */
export function* completionLogprobsJson({
  tokens,
  values,
  tops,
  offsets,
}: CompletionLogprobs): Generator<string, void> {
  if (tokens.length === 0) return void (yield "null");
  yield '{"tokens":';
  yield* listJson(tokens);
  yield ',"token_logprobs":';
  yield* listJson(values);
  yield ',"top_logprobs":';
  yield* listJson(tops);
  yield ',"text_offset":';
  yield* listJson(offsets);
  yield "}";
}

/** A list whose entries are JSON, entry by entry. */
export function* listJson(entries: readonly string[]): Generator<string> {
  let before = "[";
  for (const entry of entries) {
    yield before + entry;
    before = ",";
  }
  yield entries.length === 0 ? "[]" : "]";
}
