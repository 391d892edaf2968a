import { ToolParser } from "../../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { type Transcript, written } from "./transcript.ts";

/** Answers of Qwen 3 Coder. */
export const qwen: readonly Transcript[] = written(ToolParser.QWEN, [
  {
    name: "every kind of value",
    written:
      "I look.\n<tool_call>\n<function=gauge>\n<parameter=river>\nElbe\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=exact>\nTrue\n</parameter>\n<parameter=depths>\n[1, 2.5]\n</parameter>\n<parameter=at>\n{'x': 1}\n</parameter>\n<parameter=note>\nnull\n</parameter>\n</function>\n</tool_call>",
    text: "I look.",
    calls: [["gauge", '{"river": "Elbe", "days": 3, "exact": true, "depths": [1, 2.5], "at": {"x": 1}, "note": null}']],
  },
  {
    name: "a string of several lines with markup",
    written:
      '<tool_call>\n<function=open_gate>\n<parameter=gate>\nif a < b:\n\t"<x>" </param\n\n</parameter>\n</function>\n</tool_call>',
    calls: [["open_gate", '{"gate": "if a < b:\\n\\t\\"<x>\\" </param\\n"}']],
  },
  {
    name: "numbers where a string is wanted",
    written: "<tool_call><function=open_gate><parameter=gate>42</parameter></function></tool_call>",
    calls: [["open_gate", '{"gate": "42"}']],
  },
  {
    name: "words where a number is wanted",
    written: "<tool_call><function=gauge><parameter=days>three</parameter></function></tool_call>",
    calls: [["gauge", '{"days": "three"}']],
  },
  {
    name: "an argument that was not declared",
    written: "<tool_call><function=gauge><parameter=colour>7</parameter></function></tool_call>",
    calls: [["gauge", '{"colour": "7"}']],
  },
  {
    name: "no arguments, twice",
    written:
      "<tool_call>\n<function=ping>\n</function>\n</tool_call>\n<tool_call>\n<function=ping>\n</function>\n</tool_call>",
    calls: [
      ["ping", "{}"],
      ["ping", "{}"],
    ],
  },
  { name: "without the outer tag", written: "So:\n<function=ping>\n</function>", text: "So:", calls: [["ping", "{}"]] },
  {
    name: "without the outer tag, another function is text",
    written: "<function=main> is C",
    text: "<function=main> is C",
  },
  {
    name: "an argument that was not closed",
    written: "<tool_call>\n<function=gauge>\n<parameter=river>\nElbe\n<parameter=days>\n3\n</function>\n</tool_call>",
    calls: [["gauge", '{"river": "Elbe", "days": 3}']],
  },
  {
    name: "a function that was not closed",
    written: "<tool_call>\n<function=gauge>\n<parameter=river>\nElbe\n</parameter>\n",
    calls: [["gauge", '{"river": "Elbe"}']],
  },
  {
    name: "cut between arguments",
    written: "<tool_call>\n<function=gauge>\n<parameter=river>\nElbe\n</parameter>\n",
    cut: true,
    calls: [["gauge", '{"river": "Elbe"']],
  },
  {
    name: "cut in a string",
    written: "<tool_call>\n<function=gauge>\n<parameter=river>\nEl",
    cut: true,
    calls: [["gauge", '{"river": "El']],
  },
  {
    name: "what is no argument stays as it was written",
    written: "<tool_call>\n<function=gauge>\nriver: Elbe\n</function>\n</tool_call>\nOk.",
    text: "Ok.",
    calls: [["gauge", "{river: Elbe\n"]],
  },
  {
    name: "the case of an object's text is its own",
    written:
      '<tool_call>\n<function=gauge>\n<parameter=at>\n{"Path": "/Home/Bob", "Recursive": True}\n</parameter>\n<parameter=exact>\nTRUE\n</parameter>\n</function>\n</tool_call>',
    calls: [["gauge", '{"at": {"Path": "/Home/Bob", "Recursive": true}, "exact": true}']],
  },
  {
    name: "types that are said elsewhere in the schema",
    written: `<tool_call><function=survey><parameter=place>{"x": 1}</parameter><parameter=method>{'by': 'boat'}</parameter><parameter=tags>["a"]</parameter><parameter=unit>5</parameter><parameter=either>7</parameter><parameter=far>{"x": 2}</parameter><parameter=round>[1]</parameter></function></tool_call>`,
    calls: [
      [
        "survey",
        '{"place": {"x": 1}, "method": {"by": "boat"}, "tags": ["a"], "unit": "5", "either": "7", "far": {"x": 2}, "round": [1]}',
      ],
    ],
  },
  {
    name: "types that the schema only refers to, of texts",
    written:
      "<tool_call><function=survey><parameter=method>null</parameter><parameter=far>5</parameter><parameter=round>Elbe</parameter></function></tool_call>",
    calls: [["survey", '{"method": null, "far": "5", "round": "Elbe"}']],
  },
  {
    name: "JSON is text here",
    written: '<tool_call>\n{"name": "ping"}\n</tool_call>',
    text: '<tool_call>\n{"name": "ping"}\n</tool_call>',
  },
]);
