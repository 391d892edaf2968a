import { callArguments } from "./call-object.ts";
import { callSection } from "./call-section.ts";
import { isName, nameMax } from "./call-writer.ts";

const separator = "<｜tool▁sep｜>";
const end = "<｜tool▁call▁end｜>";
const fence = "```";

/**
 * DeepSeek: a section of calls. V3 and R1 write <｜tool▁call▁begin｜>function<｜tool▁sep｜>name, a line with ```json, the
 * arguments and ```<｜tool▁call▁end｜>; V3.1 writes <｜tool▁call▁begin｜>name<｜tool▁sep｜>{...}<｜tool▁call▁end｜>.
 */
export const deepseek = callSection(
  { section: "<｜tool▁calls▁begin｜>", sectionEnd: "<｜tool▁calls▁end｜>", begin: "<｜tool▁call▁begin｜>" },
  function* (text, out) {
    const head = (yield* text.upTo([separator], nameMax))?.text.trim() ?? "";
    if (!isName(head)) return false;
    yield* text.space();
    const bare = (yield* text.peek()) === "{";
    const name = bare ? head : ((yield* text.upTo(["\n"], nameMax))?.text.trim() ?? "");
    if (!isName(name)) return false;
    out.call(name);
    text.release();
    yield* text.space();
    if (yield* text.accept(fence)) {
      yield* text.accept("json");
      yield* text.space();
    }
    if (!(yield* callArguments(text, out.args))) yield* text.until([end], out.args);
    yield* text.space();
    if (yield* text.accept(fence)) yield* text.space();
    yield* text.accept(end);
    return true;
  },
);
