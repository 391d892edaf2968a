import { type CallFormat, type CallWriter, nameMax, type Tools } from "./call-writer.ts";
import type { CallOutcome } from "./call-object.ts";
import type { GrowingText, Reading } from "./growing-text.ts";
import { pythonValue } from "./python-literal.ts";

const start = "<|python_start|>";
const end = "<|python_end|>";

/**
 * Llama 4, Llama 3.2 and ToolACE: a whole answer that is a list of Python calls, [f(a=1, b="x"), g()]. It could be any
 * text, so the first function must be one that was offered.
 */
export const pythonic: CallFormat = {
  openers: [start],
  *read(text, out, tools) {
    text.mark();
    yield* text.space();
    yield* text.accept(start);
    yield* text.space();
    const outcome = (yield* text.accept("[")) ? yield* list(text, out, tools) : "none";
    if (outcome === "none") text.rewind();
    if (outcome === "broken") yield* text.until([], out.args);
    if (outcome === "whole") {
      yield* text.space();
      yield* text.accept(end);
    }
    yield* text.until([], out.text);
  },
};

function* list(text: GrowingText, out: CallWriter, tools: Tools): Reading<CallOutcome> {
  for (let calls = 0; ; calls++) {
    yield* text.space();
    if (calls > 0 && (yield* text.accept("]"))) return "whole";
    const name = (yield* text.upTo(["("], nameMax))?.text.trim() ?? "";
    if (calls === 0 && !tools.has(name)) return "none";
    yield* text.space();
    if (calls > 0 && name === "") return "whole";
    const outcome = yield* call(text, out, name);
    if (outcome !== "whole") return outcome;
    yield* text.space();
    if (yield* text.accept(",")) continue;
    yield* text.accept("]");
    return "whole";
  }
}

/** The arguments of a call, up to the bracket that closes it. */
function* call(text: GrowingText, out: CallWriter, name: string): Reading<CallOutcome> {
  let told = false;
  for (;;) {
    yield* text.space();
    const closed = yield* text.accept(")");
    const key = closed ? "" : (yield* text.upTo(["="], nameMax))?.text.trim();
    if (key === undefined || (!closed && !/^\w+$/.test(key))) return told ? "broken" : "none";
    if (!told) {
      out.call(name);
      text.release();
    }
    if (closed) {
      out.args(told ? "}" : "{}");
      return "whole";
    }
    out.args(`${told ? ", " : "{"}${JSON.stringify(key)}: `);
    told = true;
    yield* text.space();
    if (!(yield* pythonValue(text, out.args))) return "broken";
    yield* text.space();
    if (yield* text.accept(",")) continue;
    if (!(yield* text.accept(")"))) return "broken";
    out.args("}");
    return "whole";
  }
}
