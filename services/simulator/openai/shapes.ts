import type { Asked } from "./request.ts";
import type { Scored } from "../scored.ts";
import { chatLogprobs, completionLogprobs } from "./logprobs.ts";

/** What of a choice goes into one chunk, or into the whole answer. */
export interface Piece {
  readonly text: string;
  /** Undefined: nobody asked for them. */
  readonly scored: readonly Scored[] | undefined;
  /** Null while it goes on. */
  readonly finish: string | null;
  /** The stop text that ended it. */
  readonly stop: string | null;
}

/** How one of the two endpoints writes its choices. */
export interface Shape {
  readonly idPrefix: string;
  readonly object: string;
  readonly chunkObject: string;
  /** What comes before the first text of a choice. */
  opening(index: number): readonly object[];
  chunk(index: number, piece: Piece): object;
  whole(index: number, piece: Piece): object;
}

/** The shape of a request's answer. */
export function shapeOf(asked: Asked): Shape {
  return asked.kind === "chat" ? chatShape(asked) : completionShape;
}

function chatShape({ call, job }: Asked): Shape {
  const head = (index: number) => ({ id: `call_${job.id}_${index}`, type: "function" });
  const logprobs = (scored: Piece["scored"]) => (scored ? { content: chatLogprobs(scored) } : null);
  return {
    idPrefix: "chatcmpl",
    object: "chat.completion",
    chunkObject: "chat.completion.chunk",
    opening(index) {
      const role = { index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null };
      if (call === undefined) return [role];
      const tool_calls = [{ index: 0, ...head(index), function: { name: call, arguments: "" } }];
      return [role, { index, delta: { tool_calls }, logprobs: null, finish_reason: null }];
    },
    chunk(index, { text, scored, finish, stop }) {
      const delta =
        call === undefined ? { content: text } : { tool_calls: [{ index: 0, function: { arguments: text } }] };
      const end = finish === null ? {} : { stop_reason: stop };
      return { index, delta, logprobs: logprobs(scored), finish_reason: finish, ...end };
    },
    whole(index, { text, scored, finish, stop }) {
      const calls = { content: null, tool_calls: [{ ...head(index), function: { name: call, arguments: text } }] };
      const message = { role: "assistant", ...(call === undefined ? { content: text, tool_calls: [] } : calls) };
      return { index, message, logprobs: logprobs(scored), finish_reason: finish, stop_reason: stop };
    },
  };
}

const completionChoice = (index: number, { text, scored, finish, stop }: Piece): object => ({
  index,
  text,
  logprobs: scored ? completionLogprobs(scored) : null,
  finish_reason: finish,
  stop_reason: stop,
});

const completionShape: Shape = {
  idPrefix: "cmpl",
  object: "text_completion",
  chunkObject: "text_completion",
  opening: () => [],
  chunk: completionChoice,
  whole: completionChoice,
};
