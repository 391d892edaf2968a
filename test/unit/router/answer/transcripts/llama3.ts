import { ToolParser } from "../../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { elbe, type Transcript, written } from "./transcript.ts";

/** Answers of Llama 3. */
export const llama3: readonly Transcript[] = written(ToolParser.LLAMA3, [
  { name: "a bare object", written: `{"name": "gauge", "parameters": ${elbe}}`, calls: [["gauge", elbe]] },
  {
    name: "several",
    written: `{"name": "gauge", "parameters": ${elbe}}; {"name": "ping", "parameters": {}}`,
    calls: [
      ["gauge", elbe],
      ["ping", "{}"],
    ],
  },
  {
    name: "after the tag",
    written: `<|python_tag|>{"name": "gauge", "parameters": ${elbe}}`,
    calls: [["gauge", elbe]],
  },
  {
    name: "text and the tag",
    written: `Wait. <|python_tag|>{"name": "other", "parameters": {}}`,
    text: "Wait.",
    calls: [["other", "{}"]],
  },
  {
    name: "another object is text",
    written: ' {"name": "Ada", "parameters": 1}',
    text: ' {"name": "Ada", "parameters": 1}',
  },
  { name: "code after the tag is text", written: "<|python_tag|>print(1)", text: "<|python_tag|>print(1)" },
  { name: "an object later on is text", written: 'Try {"name": "ping"}', text: 'Try {"name": "ping"}' },
  { name: "cut before the arguments is text", written: '{"name": "gauge"', cut: true, text: '{"name": "gauge"' },
]);
