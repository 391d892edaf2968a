import { ToolParser } from "../../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { type Transcript, written } from "./transcript.ts";

/** Answers of GLM 4.5. */
export const glm: readonly Transcript[] = written(ToolParser.GLM, [
  {
    name: "every kind of value",
    written:
      "I look.\n<tool_call>gauge\n<arg_key>river</arg_key>\n<arg_value>Elbe\n水</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n<arg_key>exact</arg_key>\n<arg_value>true</arg_value>\n<arg_key>depths</arg_key>\n<arg_value>[1, 2.5]</arg_value>\n<arg_key>limit</arg_key>\n<arg_value>null</arg_value>\n</tool_call>\n",
    text: "I look.",
    calls: [["gauge", '{"river": "Elbe\\n水", "days": 3, "exact": true, "depths": [1, 2.5], "limit": null}']],
  },
  {
    name: "without line breaks",
    written:
      "<tool_call>gauge<arg_key>river</arg_key><arg_value>Elbe</arg_value></tool_call><tool_call>ping</tool_call>",
    calls: [
      ["gauge", '{"river": "Elbe"}'],
      ["ping", "{}"],
    ],
  },
  { name: "no arguments", written: "<tool_call>ping\n</tool_call>", calls: [["ping", "{}"]] },
  {
    name: "an argument that was not declared",
    written:
      "<tool_call>gauge\n<arg_key>x</arg_key>\n<arg_value>7</arg_value>\n<arg_key>y</arg_key>\n<arg_value>seven</arg_value>\n</tool_call>",
    calls: [["gauge", '{"x": 7, "y": "seven"}']],
  },
  {
    name: "the case of an object's text is its own",
    written:
      '<tool_call>gauge\n<arg_key>at</arg_key>\n<arg_value>{"Path": "/Home/Bob", "Recursive": True}</arg_value>\n</tool_call>',
    calls: [["gauge", '{"at": {"Path": "/Home/Bob", "Recursive": true}}']],
  },
  {
    name: "types that are said elsewhere in the schema",
    written: `<tool_call>survey<arg_key>place</arg_key><arg_value>{"x": 1}</arg_value><arg_key>method</arg_key><arg_value>{'by': 'boat'}</arg_value><arg_key>tags</arg_key><arg_value>["a"]</arg_value><arg_key>unit</arg_key><arg_value>5</arg_value><arg_key>either</arg_key><arg_value>7</arg_value><arg_key>far</arg_key><arg_value>{"x": 2}</arg_value><arg_key>round</arg_key><arg_value>[1]</arg_value></tool_call>`,
    calls: [
      [
        "survey",
        '{"place": {"x": 1}, "method": {"by": "boat"}, "tags": ["a"], "unit": "5", "either": 7, "far": {"x": 2}, "round": [1]}',
      ],
    ],
  },
  {
    name: "JSON is text here",
    written: '<tool_call>\n{"name": "ping"}\n</tool_call>',
    text: '<tool_call>\n{"name": "ping"}\n</tool_call>',
  },
  {
    name: "cut in a string",
    written: "<tool_call>gauge\n<arg_key>river</arg_key>\n<arg_value>El</arg_va",
    cut: true,
    calls: [["gauge", '{"river": "El</arg_va']],
  },
]);
