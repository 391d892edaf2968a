import { ReasoningParser, ToolParser } from "../../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { elbe, type Transcript } from "./transcript.ts";

/** Answers with thought and calls. */
export const both: readonly Transcript[] = [
  {
    name: "thought, text and a call",
    thinks: ReasoningParser.QWEN3,
    tools: ToolParser.HERMES,
    written: `<think>\nHm.\n</think>\n\nI look.\n<tool_call>\n{"name": "gauge", "arguments": ${elbe}}\n</tool_call>`,
    thought: "Hm.",
    text: "I look.",
    calls: [["gauge", elbe]],
  },
  {
    name: "thought that a call ends",
    thinks: ReasoningParser.KIMI,
    tools: ToolParser.KIMI,
    written:
      "<think>Hm. <|tool_calls_section_begin|><|tool_call_begin|>functions.ping:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
    thought: "Hm.",
    calls: [["ping", "{}", "functions.ping:0"]],
  },
  {
    name: "a bare call after thought",
    thinks: ReasoningParser.DEEPSEEK_R1,
    tools: ToolParser.LLAMA3,
    written: 'Hm.</think>\n{"name": "ping", "parameters": {}}',
    thought: "Hm.",
    calls: [["ping", "{}"]],
  },
  {
    name: "GLM in full",
    thinks: ReasoningParser.GLM,
    tools: ToolParser.GLM,
    written: "\n<think>Hm.</think>\n<tool_call>ping\n</tool_call>\n",
    thought: "Hm.",
    calls: [["ping", "{}"]],
  },
];
