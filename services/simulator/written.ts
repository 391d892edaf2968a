/** A function call that a prompt commands. */
interface Call {
  readonly name: string;
  readonly arguments: ReadonlyMap<string, unknown>;
  /** The arguments as JSON. */
  readonly json: string;
}

/** How a family of models writes all calls of a turn. */
type Writer = (calls: readonly Call[]) => string;

const thinkCommand = /\[\[sim think ([a-z_]+)\]\]/;
const callCommand = /\[\[sim call ([a-z0-9_]+) ([\w.-]+) (\{.*?\})\]\]/g;

/**
 * What a prompt commands to be written of thought, text and calls, as models of a family write it: `[[sim think tags]]`,
 * `[[sim text I look.]]`, `[[sim call hermes name {"a": 1}]]`. Undefined: nothing.
 */
export function writtenFrom(prompt: string): string | undefined {
  const text = /\[\[sim text (.*?)\]\]/.exec(prompt)?.[1];
  const thought = thoughts.get(thinkCommand.exec(prompt)?.[1] ?? "");
  const commanded = [...prompt.matchAll(callCommand)];
  const write = writers.get(commanded[0]?.[1] ?? "");
  if (thought === undefined && text === undefined && write === undefined) return undefined;
  const calls = commanded.flatMap(([, , name = "", json = ""]) => callFrom(name, json));
  return `${thought ?? ""}${text ?? ""}${write ? write(calls) : ""}`;
}

function callFrom(name: string, json: string): Call[] {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null
      ? [{ name, arguments: new Map<string, unknown>(Object.entries(value)), json }]
      : [];
  } catch {
    // A command that is no command is a part of the prompt.
    return [];
  }
}

const mused = "The weir is upstream – 水 runs, so I ask.";

const thoughts: ReadonlyMap<string, string> = new Map([
  ["tags", `<think>\n${mused}\n</think>\n\n`],
  ["untagged", `${mused}\n</think>\n\n`],
  ["mistral", `[THINK]${mused}[/THINK]`],
  ["granite", `Here is my thought process: ${mused}\n\nHere is my response: `],
]);

const each =
  (write: (call: Call, index: number) => string, separator = "\n"): Writer =>
  (calls) =>
    calls.map(write).join(separator);

const writers: ReadonlyMap<string, Writer> = new Map<string, Writer>([
  ["hermes", each(({ name, json }) => `\n<tool_call>\n{"name": "${name}", "arguments": ${json}}\n</tool_call>`, "")],
  [
    "qwen",
    each((call) => {
      const parameters = [...call.arguments].map(
        ([key, value]) => `<parameter=${key}>\n${bare(value)}\n</parameter>\n`,
      );
      return `\n<tool_call>\n<function=${call.name}>\n${parameters.join("")}</function>\n</tool_call>`;
    }, ""),
  ],
  ["llama3", each(({ name, json }) => `{"name": "${name}", "parameters": ${json}}`, "; ")],
  ["mistral", each(({ name, json }) => `[TOOL_CALLS]${name}[ARGS]${json}`, "")],
  [
    "mistral_list",
    (calls) => `[TOOL_CALLS][${each(({ name, json }) => `{"name": "${name}", "arguments": ${json}}`, ", ")(calls)}]`,
  ],
  [
    "pythonic",
    (calls) =>
      `[${each((call) => `${call.name}(${[...call.arguments].map(([key, value]) => `${key}=${python(value)}`).join(", ")})`, ", ")(calls)}]`,
  ],
  [
    "deepseek",
    (calls) =>
      `<｜tool▁calls▁begin｜>${each(({ name, json }) => `<｜tool▁call▁begin｜>function<｜tool▁sep｜>${name}\n\`\`\`json\n${json}\n\`\`\`<｜tool▁call▁end｜>`)(calls)}<｜tool▁calls▁end｜>`,
  ],
  [
    "kimi",
    (calls) =>
      `<|tool_calls_section_begin|>${each(({ name, json }, index) => `<|tool_call_begin|>functions.${name}:${index}<|tool_call_argument_begin|>${json}<|tool_call_end|>`, "")(calls)}<|tool_calls_section_end|>`,
  ],
  [
    "glm",
    each((call) => {
      const pairs = [...call.arguments].map(
        ([key, value]) => `<arg_key>${key}</arg_key>\n<arg_value>${bare(value)}</arg_value>\n`,
      );
      return `\n<tool_call>${call.name}\n${pairs.join("")}</tool_call>`;
    }, ""),
  ],
]);

/** A value without quotes. */
function bare(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function python(value: unknown): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, member]) => `${JSON.stringify(key)}: ${python(member)}`)
    .join(", ")}}`;
}
