import { ToolParser } from "../../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { elbe, type Transcript, written } from "./transcript.ts";

/** Answers of Hermes, Qwen 2.5 and 3. */
export const hermes: readonly Transcript[] = written(ToolParser.HERMES, [
  { name: "text alone", written: "The level is fine.\n", text: "The level is fine.\n" },
  {
    name: "a call alone",
    written: `<tool_call>\n{"name": "gauge", "arguments": ${elbe}}\n</tool_call>`,
    calls: [["gauge", elbe]],
  },
  {
    name: "text before, between and after",
    written: `Let me look – 水.\n<tool_call>\n{"name": "gauge", "arguments": ${elbe}}\n</tool_call>\nAnd:\n<tool_call>{"arguments":{"gate":"🌊"},"name":"open_gate"}</tool_call>\nDone.`,
    text: "Let me look – 水.And:Done.",
    calls: [
      ["gauge", elbe],
      ["open_gate", '{"gate":"🌊"}'],
    ],
  },
  { name: "no arguments", written: '<tool_call>{"name": "ping"}</tool_call>', calls: [["ping", "{}"]] },
  {
    name: "null as arguments",
    written: '<tool_call>{"name": "ping", "arguments": null}</tool_call>',
    calls: [["ping", "{}"]],
  },
  {
    name: "parameters instead",
    written: `<tool_call>{"name": "gauge", "parameters": ${elbe}}</tool_call>`,
    calls: [["gauge", elbe]],
  },
  {
    name: "arguments in a string",
    written: '<tool_call>{"name": "open_gate", "arguments": "{\\"gate\\": \\"n\\\\\\"\\ud83c\\udf0a\\"}"}</tool_call>',
    calls: [["open_gate", '{"gate": "n\\"🌊"}']],
  },
  {
    name: "line breaks inside a string",
    written: '<tool_call>{"name": "open_gate", "arguments": {"gate": "a\nb\tc"}}</tool_call>',
    calls: [["open_gate", '{"gate": "a\\nb\\tc"}']],
  },
  {
    name: "a brace too many",
    written: `<tool_call>{"name": "gauge", "arguments": ${elbe}}}\n</tool_call>`,
    calls: [["gauge", elbe]],
  },
  {
    name: "without the end marker",
    written: `<tool_call>{"name": "gauge", "arguments": ${elbe}}`,
    calls: [["gauge", elbe]],
  },
  {
    name: "a function that was not offered",
    written: '<tool_call>{"name": "other", "arguments": {}}</tool_call>',
    calls: [["other", "{}"]],
  },
  {
    name: "the markers inside arguments",
    written: '<tool_call>{"name": "open_gate", "arguments": {"gate": "</tool_call><tool_call>"}}</tool_call>',
    calls: [["open_gate", '{"gate": "</tool_call><tool_call>"}']],
  },
  {
    name: "no JSON is text",
    written: "Write <tool_call>like this</tool_call>.",
    text: "Write <tool_call>like this</tool_call>.",
  },
  {
    name: "JSON without a name is text",
    written: '<tool_call>{"arguments": {}}</tool_call>',
    text: '<tool_call>{"arguments": {}}</tool_call>',
  },
  {
    name: "a marker before a call is text",
    written: `<tool_call><tool_call>{"name": "ping"}</tool_call>`,
    text: "<tool_call>",
    calls: [["ping", "{}"]],
  },
  { name: "half a marker at the end is text", written: "fine\n<tool_c", text: "fine\n<tool_c" },
  { name: "a whole marker at the end is text", written: "fine\n<tool_call>\n", text: "fine\n<tool_call>\n" },
  { name: "cut in the name is text", written: '<tool_call>{"name": "gau', cut: true, text: '<tool_call>{"name": "gau' },
  {
    name: "cut in the arguments",
    written: '<tool_call>{"name": "gauge", "arguments": {"river": "El',
    cut: true,
    calls: [["gauge", '{"river": "El']],
  },
  {
    name: "arguments that are no JSON stay as they were written",
    written: '<tool_call>{"name": "gauge", "arguments": {\'river\': 1}}</tool_call> Ok.',
    text: "Ok.",
    calls: [["gauge", "{'river': 1}}"]],
  },
  {
    name: "much white space is text",
    written: `a${"\n".repeat(70)}<tool_call>{"name": "ping"}</tool_call>`,
    text: `a${"\n".repeat(70)}`,
    calls: [["ping", "{}"]],
  },
]);
