import { callObject } from "./call-object.ts";
import type { CallFormat } from "./call-writer.ts";

const tag = "<|python_tag|>";

/**
 * Llama 3: {"name": ..., "parameters": {...}} at the beginning, or after <|python_tag|> anywhere; several are separated
 * by semicolons. Without the tag it could be any JSON, so the function must be one that was offered.
 */
export const llama3: CallFormat = {
  openers: [tag],
  *read(text, out, tools) {
    let tagged = false;
    /** How many calls came in the row that goes on. */
    let calls = 0;
    for (;;) {
      text.mark();
      yield* text.space();
      if (calls > 0 && (yield* text.accept(";"))) yield* text.space();
      const known = tagged ? undefined : (name: string) => tools.has(name);
      const outcome = yield* callObject(text, out, known);
      if (outcome === "whole") {
        calls += 1;
        continue;
      }
      if (outcome === "broken") return void (yield* text.until([], out.args));
      text.rewind();
      if (tagged && calls === 0) out.text(tag);
      if ((yield* text.until([tag], out.text)) < 0) return;
      text.skip(tag.length);
      tagged = true;
      calls = 0;
    }
  },
};
