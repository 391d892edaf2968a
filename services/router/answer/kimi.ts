import { callArguments } from "./call-object.ts";
import { callSection } from "./call-section.ts";
import { isName, nameMax } from "./call-writer.ts";

const beforeArguments = "<|tool_call_argument_begin|>";
const end = "<|tool_call_end|>";

/** Kimi K2: a section of <|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{...}<|tool_call_end|>. */
export const kimi = callSection(
  {
    section: "<|tool_calls_section_begin|>",
    sectionEnd: "<|tool_calls_section_end|>",
    begin: "<|tool_call_begin|>",
  },
  function* (text, out) {
    const id = (yield* text.upTo([beforeArguments], nameMax))?.text.trim() ?? "";
    const name = /^(?:functions\.)?(.+?)(?::\d+)?$/.exec(id)?.[1] ?? "";
    if (!isName(name)) return false;
    // The template shows the model its own ids again.
    out.call(name, id);
    text.release();
    yield* text.space();
    if (yield* text.accept(end)) {
      out.args("{}");
      return true;
    }
    if (!(yield* callArguments(text, out.args))) yield* text.until([end], out.args);
    yield* text.space();
    yield* text.accept(end);
    return true;
  },
);
