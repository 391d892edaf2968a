import { type CallFormat, type CallWriter, isName, nameMax, type Tools } from "./call-writer.ts";
import type { GrowingText, Reading } from "./growing-text.ts";
import { typedValue } from "./typed-value.ts";

const open = "<tool_call>";
const close = "</tool_call>";
const begin = "<function=";
const end = "</function>";
const parameter = "<parameter=";
const parameterEnd = "</parameter>";

/** A line break at each end of a value is the format's. An argument that was not closed ends where the next tag begins a line. */
const valueEnds = [`\n${parameterEnd}`, parameterEnd, `\n${parameter}`, `\n${end}`];

/**
 * Qwen 3 Coder and later: <tool_call><function=name><parameter=key>value</parameter></function></tool_call>, with line
 * breaks between. The outer tag may be missing; then the function must be one that was offered.
 */
export const qwen: CallFormat = {
  openers: [open, begin],
  *read(text, out, tools) {
    for (;;) {
      const which = yield* text.until([open, begin], out.text);
      if (which < 0) return;
      const opener = which === 0 ? open : begin;
      text.skip(opener.length);
      text.mark();
      if (which === 0) {
        yield* text.space();
        if (!(yield* text.accept(begin))) {
          text.rewind();
          out.text(opener);
          continue;
        }
      }
      const name = (yield* text.upTo([">"], nameMax))?.text.trim() ?? "";
      if (!isName(name) || (which === 1 && !tools.has(name))) {
        text.rewind();
        out.text(opener);
        continue;
      }
      out.call(name);
      text.release();
      yield* parameters(text, out, tools, name);
      yield* text.space();
      yield* text.accept(close);
    }
  },
};

function* parameters(text: GrowingText, out: CallWriter, tools: Tools, name: string): Reading<void> {
  out.args("{");
  for (let count = 0; ; count++) {
    yield* text.space();
    if (yield* text.accept(end)) break;
    if (!(yield* text.accept(parameter))) {
      // Its end was forgotten, unless the answer was cut here.
      if ((yield* text.accept(close)) || ((yield* text.over()) && !text.cut)) break;
      return yield* broken(text, out);
    }
    const key = (yield* text.upTo([">"], nameMax))?.text.trim();
    if (key === undefined) return yield* broken(text, out);
    out.args(`${count > 0 ? ", " : ""}${JSON.stringify(key)}: `);
    yield* text.accept("\n");
    const kinds = tools.kinds(name, key) ?? (tools.refers(name, key) ? nestedOrText : onlyText);
    if (!(yield* typedValue(text, out.args, { ends: valueEnds, kinds }))) return;
    yield* text.accept("\n");
    yield* text.accept(parameterEnd);
  }
  out.args("}");
}

function* broken(text: GrowingText, out: CallWriter): Reading<void> {
  yield* text.until([end, close], out.args);
  yield* text.accept(end);
}

/** What the schema says nothing of is told as it stands. */
const onlyText: ReadonlySet<string> = new Set(["string"]);
/** What has a name of its own in a schema is hardly ever a text, unless it does not look like JSON. */
const nestedOrText: ReadonlySet<string> = new Set(["object", "array", "string"]);
