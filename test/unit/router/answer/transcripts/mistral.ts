import { ToolParser } from "../../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { elbe, type Transcript, written } from "./transcript.ts";

/** Answers of Mistral. */
export const mistral: readonly Transcript[] = written(ToolParser.MISTRAL, [
  {
    name: "a list",
    written: `[TOOL_CALLS] [{"name": "gauge", "arguments": ${elbe}}, {"name": "ping", "arguments": {}, "id": "abcdefghi"}]`,
    calls: [
      ["gauge", elbe],
      ["ping", "{}"],
    ],
  },
  {
    name: "names",
    written: `Sure.[TOOL_CALLS]gauge[ARGS]${elbe}[TOOL_CALLS]ping[ARGS]{}`,
    text: "Sure.",
    calls: [
      ["gauge", elbe],
      ["ping", "{}"],
    ],
  },
  { name: "names with ids", written: `[TOOL_CALLS]gauge[CALL_ID]abcdefghi[ARGS]${elbe}`, calls: [["gauge", elbe]] },
  { name: "names without a mark", written: `[TOOL_CALLS]gauge${elbe}`, calls: [["gauge", elbe]] },
  { name: "one object", written: `[TOOL_CALLS]{"name": "gauge", "arguments": ${elbe}}`, calls: [["gauge", elbe]] },
  { name: "anything else is text", written: "[TOOL_CALLS] are made so: [1]", text: "[TOOL_CALLS] are made so: [1]" },
  { name: "an empty list is text", written: "[TOOL_CALLS] []", text: "[TOOL_CALLS] []" },
  {
    name: "cut in a list",
    written: '[TOOL_CALLS] [{"name": "gauge", "arguments": {"days": 1',
    cut: true,
    calls: [["gauge", '{"days": 1']],
  },
]);
