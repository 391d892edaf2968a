import { create } from "@bufbuild/protobuf";
import { ReasoningParser, ToolParser } from "../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { type Tool, ToolSchema } from "../../../../gen/ts/weir/router/v1/message_pb.ts";

/** An answer as a model writes it, and what it says. */
export interface Transcript {
  readonly name: string;
  readonly tools?: ToolParser;
  readonly thinks?: ReasoningParser;
  /** What the model continued. */
  readonly prompt?: string;
  readonly written: string;
  /** It ended by a limit on its length. */
  readonly cut?: boolean;
  readonly text?: string;
  readonly thought?: string;
  /** Name, arguments as text, and the model's id. */
  readonly calls?: readonly (readonly [string, string, string?])[];
}

const schema = (properties: unknown) => JSON.stringify({ type: "object", properties });

/** What the requests of the transcripts offer. */
export const offered: readonly Tool[] = [
  create(ToolSchema, {
    name: "gauge",
    parametersJson: schema({
      river: { type: "string" },
      days: { type: "integer" },
      exact: { type: "boolean" },
      depths: { type: "array", items: { type: "number" } },
      at: { type: "object" },
      note: { type: ["string", "null"] },
      limit: { anyOf: [{ type: "number" }, { type: "null" }] },
    }),
  }),
  create(ToolSchema, { name: "open_gate", parametersJson: schema({ gate: { type: "string" } }) }),
  create(ToolSchema, { name: "ping", parametersJson: "" }),
];

const elbe = '{"river": "Elbe", "days": 3}';

const hermes: Transcript[] = [
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
].map((row) => ({ ...row, tools: ToolParser.HERMES }));

const qwen: Transcript[] = [
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
    name: "JSON is text here",
    written: '<tool_call>\n{"name": "ping"}\n</tool_call>',
    text: '<tool_call>\n{"name": "ping"}\n</tool_call>',
  },
].map((row) => ({ ...row, tools: ToolParser.QWEN }));

const llama3: Transcript[] = [
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
].map((row) => ({ ...row, tools: ToolParser.LLAMA3 }));

const mistral: Transcript[] = [
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
].map((row) => ({ ...row, tools: ToolParser.MISTRAL }));

const pythonic: Transcript[] = [
  {
    name: "every kind of value",
    written: `[gauge(river='El"be\\n', days=3, exact=True, depths=[1, -2.5, .5,], at={"x": None, 'y': (1, 2)}), ping()]`,
    calls: [
      [
        "gauge",
        '{"river": "El\\"be\\n", "days": 3, "exact": true, "depths": [1, -2.5, 0.5], "at": {"x": null, "y": [1, 2]}}',
      ],
      ["ping", "{}"],
    ],
  },
  { name: "with the marks of Llama 4", written: "<|python_start|>[ping()]<|python_end|>", calls: [["ping", "{}"]] },
  {
    name: "escapes",
    written: `[open_gate(gate="\\u6c34\\x41\\q\\'\\U0001f30a")]`,
    calls: [["open_gate", `{"gate": "\\u6c34\\u0041\\\\q'🌊"}`]],
  },
  { name: "a list is text", written: "[1, 2]", text: "[1, 2]" },
  { name: "another function is text", written: "[print(a=1)]", text: "[print(a=1)]" },
  { name: "positions are text", written: '[open_gate("n=1")]', text: '[open_gate("n=1")]' },
  { name: "a link is text", written: "[gauge](https://a.example/?b=1)", text: "[gauge](https://a.example/?b=1)" },
  { name: "cut in a string", written: "[open_gate(gate='no", cut: true, calls: [["open_gate", '{"gate": "no']] },
  { name: "cut in a number", written: "[gauge(days=1", cut: true, calls: [["gauge", '{"days": 1']] },
  {
    name: "what is no literal stays as it was written",
    written: "[gauge(days=today())]",
    calls: [["gauge", '{"days": today())]']],
  },
  { name: "text", written: " The level is fine.", text: " The level is fine." },
].map((row) => ({ ...row, tools: ToolParser.PYTHONIC }));

const deepseek: Transcript[] = [
  {
    name: "V3, two calls",
    written: `I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>gauge\n\`\`\`json\n${elbe}\n\`\`\`<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n\`\`\`json\n{}\n\`\`\`<｜tool▁call▁end｜><｜tool▁calls▁end｜>`,
    text: "I look.",
    calls: [
      ["gauge", elbe],
      ["ping", "{}"],
    ],
  },
  {
    name: "V3.1, two calls",
    written: `<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>gauge<｜tool▁sep｜>${elbe}<｜tool▁call▁end｜><｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>`,
    calls: [
      ["gauge", elbe],
      ["ping", "{}"],
    ],
  },
  {
    name: "without the section",
    written: "<｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
    calls: [["ping", "{}"]],
  },
  {
    name: "anything else is text",
    written: "<｜tool▁calls▁begin｜>none<｜tool▁calls▁end｜>",
    text: "<｜tool▁calls▁begin｜>none<｜tool▁calls▁end｜>",
  },
  { name: "half a marker is text", written: "a <｜tool▁ca", text: "a <｜tool▁ca" },
].map((row) => ({ ...row, tools: ToolParser.DEEPSEEK }));

const kimi: Transcript[] = [
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
].map((row) => ({ ...row, tools: ToolParser.KIMI }));

const glm: Transcript[] = [
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
].map((row) => ({ ...row, tools: ToolParser.GLM }));

const thoughts: Transcript[] = [
  {
    name: "R1 with its tag",
    thinks: ReasoningParser.DEEPSEEK_R1,
    written: "<think>\nHm.\n</think>\n\nYes.",
    thought: "Hm.",
    text: "Yes.",
  },
  {
    name: "R1 without its tag",
    thinks: ReasoningParser.DEEPSEEK_R1,
    written: "Hm.\n</think>\n\nYes.",
    thought: "Hm.",
    text: "Yes.",
  },
  {
    name: "R1 told not to think",
    thinks: ReasoningParser.DEEPSEEK_R1,
    prompt: "<｜Assistant｜></think>",
    written: "Yes.",
    text: "Yes.",
  },
  { name: "R1 that only thinks", thinks: ReasoningParser.DEEPSEEK_R1, written: "Hm, ", cut: true, thought: "Hm, " },
  { name: "half a marker is thought", thinks: ReasoningParser.DEEPSEEK_R1, written: "Hm </thi", thought: "Hm </thi" },
  {
    name: "Qwen with its tag",
    thinks: ReasoningParser.QWEN3,
    written: "<think>\nHm – 水.\n</think>\n\nYes.",
    thought: "Hm – 水.",
    text: "Yes.",
  },
  {
    name: "Qwen whose prompt began it",
    thinks: ReasoningParser.QWEN3,
    prompt: "<|im_start|>assistant\n<think>\n",
    written: "Hm.\n</think>\n\nYes.",
    thought: "Hm.",
    text: "Yes.",
  },
  {
    name: "Qwen that does not think",
    thinks: ReasoningParser.QWEN3,
    written: "Yes, </think> is a tag.",
    text: "Yes, </think> is a tag.",
  },
  {
    name: "Qwen with an empty thought",
    thinks: ReasoningParser.QWEN3,
    written: "<think>\n\n</think>\n\nYes.",
    text: "Yes.",
  },
  {
    name: "a tag later on is text",
    thinks: ReasoningParser.QWEN3,
    written: "Use <think> so.",
    text: "Use <think> so.",
  },
  { name: "half the opening tag is text", thinks: ReasoningParser.QWEN3, written: "<thin", text: "<thin" },
  { name: "Mistral", thinks: ReasoningParser.MISTRAL, written: "[THINK]Hm.[/THINK]Yes.", thought: "Hm.", text: "Yes." },
  {
    name: "Granite",
    thinks: ReasoningParser.GRANITE,
    written: "Here is my thought process: Hm.\n\nHere is my response: Yes.",
    thought: "Hm.",
    text: "Yes.",
  },
  {
    name: "Kimi, older",
    thinks: ReasoningParser.KIMI,
    written: "◁think▷Hm.◁/think▷Yes.",
    thought: "Hm.",
    text: "Yes.",
  },
  {
    name: "GLM told not to think",
    thinks: ReasoningParser.GLM,
    prompt: "<|assistant|>\n<think></think>",
    written: "\nYes.",
    text: "\nYes.",
  },
];

const both: Transcript[] = [
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

/** All transcripts. They are ours: what models of each family were trained to write, and what they get wrong. */
export const transcripts: readonly Transcript[] = [
  ...hermes,
  ...qwen,
  ...llama3,
  ...mistral,
  ...pythonic,
  ...deepseek,
  ...kimi,
  ...glm,
  ...thoughts,
  ...both,
];
