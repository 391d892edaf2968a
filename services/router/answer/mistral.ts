import { callArguments, callObject, type CallOutcome } from "./call-object.ts";
import { type CallFormat, type CallWriter, isName, nameMax } from "./call-writer.ts";
import type { GrowingText, Reading } from "./growing-text.ts";

const open = "[TOOL_CALLS]";
const beforeArguments = "[ARGS]";
const beforeId = "[CALL_ID]";

/**
 * Mistral, old and new: [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...], and [TOOL_CALLS]name[ARGS]{...} once a
 * call, where [ARGS] may be missing and an id may stand before it.
 */
export const mistral: CallFormat = {
  openers: [open],
  *read(text, out) {
    while ((yield* text.until([open], out.text)) >= 0) {
      text.skip(open.length);
      text.mark();
      yield* text.space();
      const first = yield* text.peek();
      const outcome =
        first === "[" ? yield* list(text, out) : first === "{" ? yield* callObject(text, out) : yield* named(text, out);
      if (outcome === "none") {
        text.rewind();
        out.text(open);
      } else if (outcome === "broken") yield* text.until([open], out.args);
    }
  },
};

function* list(text: GrowingText, out: CallWriter): Reading<CallOutcome> {
  text.skip();
  for (let calls = 0; ; calls++) {
    if (calls > 0) text.mark();
    yield* text.space();
    const outcome = yield* callObject(text, out);
    if (outcome === "broken" || (outcome === "none" && calls === 0)) return outcome;
    if (outcome === "none") text.rewind();
    yield* text.space();
    if (outcome === "whole" && (yield* text.accept(","))) continue;
    yield* text.accept("]");
    return "whole";
  }
}

function* named(text: GrowingText, out: CallWriter): Reading<CallOutcome> {
  const head = yield* text.upTo([beforeArguments, beforeId, "{"], nameMax);
  const name = head?.text.trim() ?? "";
  if (!head || !isName(name)) return "none";
  // The model's own id is not taken: it need not be unique.
  if (head.which === 1 && (yield* text.upTo([beforeArguments], nameMax)) === undefined) return "none";
  out.call(name);
  text.release();
  if (head.which === 2) text.skip(-1);
  yield* text.space();
  return (yield* callArguments(text, out.args)) ? "whole" : "broken";
}
