import type { TgiFailure } from "./errors.ts";
import type { Asked } from "./request.ts";

export type Finish = "length" | "eos_token" | "stop_sequence";

interface TgiToken {
  readonly id: number;
  readonly text: string;
  readonly logprob: number;
  readonly special: boolean;
}

/** A token that came, with others in its place. */
export interface Piece {
  readonly token: TgiToken;
  readonly tops: readonly TgiToken[];
}

/** What is known when all is said. */
export interface End {
  readonly finish: Finish;
  readonly tokens: number;
  readonly promptTokens: number;
  readonly seed: number | null;
  readonly text: string;
}

/** How one of its paths writes that it fails. */
export interface ErrorShape {
  error(failure: TgiFailure): object;
  /** What ends a stream. */
  readonly terminator: string;
}

/** How one of its paths writes what comes. */
export interface Shape extends ErrorShape {
  event(index: number, piece: Piece): object;
  /** The events of the last token and what follows it. */
  last(index: number, piece: Piece, end: End): readonly object[];
  whole(pieces: readonly Piece[], end: End): object;
}

export const generateErrors: ErrorShape = {
  terminator: "",
  error: ({ error, error_type }) => ({ error, error_type }),
};

export const chatErrors: ErrorShape = {
  terminator: "data:[DONE]\n\n",
  error: ({ error, status }) => ({ error: { message: error, http_status_code: status } }),
};

/** The shape of /generate and /generate_stream. */
export function generateShape({ details, top }: Asked): Shape {
  const event = (index: number, { token, tops }: Piece) => ({
    index,
    token,
    ...(top > 0 ? { top_tokens: tops } : {}),
    generated_text: null,
    details: null,
  });
  const ofEnd = ({ finish, tokens, seed }: End) => ({ finish_reason: finish, generated_tokens: tokens, seed });
  return {
    ...generateErrors,
    event,
    last: (index, piece, end) => [
      {
        ...event(index, piece),
        generated_text: end.text,
        details: details ? { ...ofEnd(end), input_length: end.promptTokens } : null,
      },
    ],
    whole: (pieces, end) => ({
      generated_text: end.text,
      ...(details
        ? {
            details: {
              ...ofEnd(end),
              prefill: [],
              tokens: pieces.map(({ token }) => token),
              ...(top > 0 ? { top_tokens: pieces.map(({ tops }) => tops) } : {}),
            },
          }
        : {}),
    }),
  };
}

/** The shape of /v1/chat/completions. */
export function chatShape({ call, logprobs, includeUsage, job }: Asked, createdS: number): Shape {
  const head = (object: string) => ({
    id: "",
    object,
    created: createdS,
    model: job.model,
    system_fingerprint: "3.3.7-simulator",
  });
  const finishOf = (finish: Finish) => (finish === "eos_token" ? "stop" : finish);
  const scored = ({ token, tops }: Piece) => ({
    token: token.text,
    logprob: token.logprob,
    top_logprobs: tops.map(({ text, logprob }) => ({ token: text, logprob })),
  });
  const chunk = (index: number, piece: Piece, finish: string | null) => {
    const text = piece.token.special ? "" : piece.token.text;
    const name = index === 1 ? call : null;
    const calls = [{ index: 0, id: "0", type: "function", function: { name, arguments: text } }];
    return {
      ...head("chat.completion.chunk"),
      choices: [
        {
          index: 0,
          delta: call === undefined ? { role: "assistant", content: text } : { role: "assistant", tool_calls: calls },
          logprobs: logprobs ? { content: [scored(piece)] } : null,
          finish_reason: finish,
        },
      ],
      usage: null,
    };
  };
  const usageOf = ({ promptTokens, tokens }: End) => ({
    prompt_tokens: promptTokens,
    completion_tokens: tokens,
    total_tokens: promptTokens + tokens,
  });
  return {
    ...chatErrors,
    event: (index, piece) => chunk(index, piece, null),
    last: (index, piece, end) => [
      // After the last brace of a call it says nothing, its end included.
      ...(call !== undefined && end.finish === "eos_token" ? [] : [chunk(index, piece, finishOf(end.finish))]),
      ...(includeUsage ? [{ ...head("chat.completion.chunk"), choices: [], usage: usageOf(end) }] : []),
    ],
    whole: (pieces, end) => {
      const calls = [{ id: "0", type: "function", function: { name: call, description: null, arguments: end.text } }];
      const message = call === undefined ? { content: end.text } : { tool_calls: calls };
      const choice = {
        index: 0,
        message: { role: "assistant", ...message },
        logprobs: logprobs ? { content: pieces.map(scored) } : null,
        finish_reason: finishOf(end.finish),
      };
      // It counts the prompt by log probabilities that its shards do not report.
      return { ...head("chat.completion"), choices: [choice], usage: { ...usageOf(end), prompt_tokens: 0 } };
    },
  };
}
