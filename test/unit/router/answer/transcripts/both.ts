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
  {
    name: "a call's marker that is only thought of",
    thinks: ReasoningParser.QWEN3,
    tools: ToolParser.HERMES,
    prompt: "<|im_start|>assistant\n<think>\n",
    written: "I should use a <tool_call> block.\n</think>\n\nHello",
    thought: "I should use a <tool_call> block.",
    text: "Hello",
  },
  {
    name: "a call's marker that is thought of, and then a call that ends thought",
    thinks: ReasoningParser.QWEN3,
    tools: ToolParser.HERMES,
    written: '<think>A <tool_call> {"name" it is. <tool_call>\n{"name": "ping"}\n</tool_call>',
    thought: 'A <tool_call> {"name" it is.',
    calls: [["ping", "{}"]],
  },
  {
    name: "a call that is begun when thought ends",
    thinks: ReasoningParser.QWEN3,
    tools: ToolParser.HERMES,
    written: '<think>Like <tool_call>{"x": "</think>\n\nHello, "}',
    thought: 'Like <tool_call>{"x": "',
    text: 'Hello, "}',
  },
  {
    name: "a call's marker at the end of thought",
    thinks: ReasoningParser.QWEN3,
    tools: ToolParser.QWEN,
    written: "<think>So <tool_call>\n<function=",
    cut: true,
    thought: "So <tool_call>\n<function=",
  },
  {
    name: "a section's marker that is only thought of",
    thinks: ReasoningParser.DEEPSEEK_R1,
    tools: ToolParser.DEEPSEEK,
    written: "After <｜tool▁calls▁begin｜> come <｜tool▁call▁begin｜> and more.</think>Yes.",
    thought: "After <｜tool▁calls▁begin｜> come <｜tool▁call▁begin｜> and more.",
    text: "Yes.",
  },
  {
    name: "a tag that is only thought of",
    thinks: ReasoningParser.DEEPSEEK_R1,
    tools: ToolParser.LLAMA3,
    written: 'Not <|python_tag|> yet.</think><|python_tag|>{"name": "ping", "parameters": {}}',
    thought: "Not <|python_tag|> yet.",
    calls: [["ping", "{}"]],
  },
];
