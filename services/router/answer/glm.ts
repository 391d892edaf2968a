import { type CallFormat, type CallWriter, isName, nameMax, type Tools } from "./call-writer.ts";
import type { GrowingText, Reading } from "./growing-text.ts";
import { typedValue } from "./typed-value.ts";

const open = "<tool_call>";
const close = "</tool_call>";
const key = "<arg_key>";
const keyEnd = "</arg_key>";
const value = "<arg_value>";
const valueEnd = "</arg_value>";

/** GLM 4.5 and later: <tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>, line breaks or not. */
export const glm: CallFormat = {
  openers: [open],
  *read(text, out, tools) {
    while ((yield* text.until([open], out.text)) >= 0) {
      text.skip(open.length);
      text.mark();
      yield* text.space();
      const head = yield* text.upTo(["\n", key, close], nameMax);
      const name = head?.text.trim() ?? "";
      if (!head || !isName(name)) {
        text.rewind();
        out.text(open);
        continue;
      }
      out.call(name);
      text.release();
      if (head.which === 2) out.args("{}");
      else yield* members(text, out, tools, name, head.which === 1);
    }
  },
};

function* members(text: GrowingText, out: CallWriter, tools: Tools, name: string, keyIsOpen: boolean): Reading<void> {
  out.args("{");
  for (let count = 0; ; count++) {
    yield* text.space();
    if (!(keyIsOpen && count === 0) && !(yield* text.accept(key))) {
      // The end was forgotten, unless the answer was cut here.
      if ((yield* text.accept(close)) || ((yield* text.over()) && !text.cut)) break;
      return yield* broken(text, out);
    }
    const found = (yield* text.upTo([keyEnd], nameMax))?.text.trim();
    yield* text.space();
    if (found === undefined || !(yield* text.accept(value))) return yield* broken(text, out);
    out.args(`${count > 0 ? ", " : ""}${JSON.stringify(found)}: `);
    if (!(yield* typedValue(text, out.args, { ends: [valueEnd], kinds: tools.kinds(name, found) }))) return;
    yield* text.accept(valueEnd);
  }
  out.args("}");
}

function* broken(text: GrowingText, out: CallWriter): Reading<void> {
  yield* text.until([close], out.args);
  yield* text.accept(close);
}
