import { callObject } from "./call-object.ts";
import type { CallFormat } from "./call-writer.ts";

const open = "<tool_call>";
const close = "</tool_call>";

/** Hermes, Qwen 2.5 and 3: <tool_call>{"name": ..., "arguments": {...}}</tool_call>, as many as there are. */
export const hermes: CallFormat = {
  openers: [open],
  *read(text, out) {
    while ((yield* text.until([open], out.text)) >= 0) {
      text.skip(open.length);
      text.mark();
      yield* text.space();
      const outcome = yield* callObject(text, out);
      if (outcome === "none") {
        text.rewind();
        out.text(open);
        continue;
      }
      if (outcome === "broken") yield* text.until([close], out.args);
      yield* text.space();
      // A brace too many is a frequent slip.
      while (yield* text.accept("}")) yield* text.space();
      yield* text.accept(close);
    }
  },
};
