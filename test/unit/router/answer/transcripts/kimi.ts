import { ToolParser } from "../../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { elbe, type Transcript, written } from "./transcript.ts";

/** Answers of Kimi K2. */
export const kimi: readonly Transcript[] = written(ToolParser.KIMI, [
  {
    name: "two calls",
    written: `I look.<|tool_calls_section_begin|><|tool_call_begin|>functions.gauge:0<|tool_call_argument_begin|>${elbe}<|tool_call_end|><|tool_call_begin|>functions.ping:1<|tool_call_argument_begin|> {} <|tool_call_end|><|tool_calls_section_end|>`,
    text: "I look.",
    calls: [
      ["gauge", elbe, "functions.gauge:0"],
      ["ping", "{}", "functions.ping:1"],
    ],
  },
  {
    name: "no arguments",
    written:
      "<|tool_calls_section_begin|><|tool_call_begin|>ping:4<|tool_call_argument_begin|><|tool_call_end|><|tool_calls_section_end|>",
    calls: [["ping", "{}", "ping:4"]],
  },
  {
    name: "the second is none",
    written:
      "<|tool_calls_section_begin|><|tool_call_begin|>ping:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_call_begin|>?",
    text: "<|tool_call_begin|>?",
    calls: [["ping", "{}", "ping:0"]],
  },
  {
    name: "an empty section is text",
    written: "<|tool_calls_section_begin|><|tool_calls_section_end|>",
    text: "<|tool_calls_section_begin|><|tool_calls_section_end|>",
  },
]);
