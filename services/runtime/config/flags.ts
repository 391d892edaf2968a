import { parseArgs } from "node:util";
import type { DescEnum } from "@bufbuild/protobuf";
import {
  ReasoningParser,
  ReasoningParserSchema,
  ToolParser,
  ToolParserSchema,
} from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { engineUrl } from "./engine-url.ts";
import { enumValue } from "./scalar.ts";

/** What an engine is asked or told. */
export type EngineCommand = "engines probe" | "engines models" | "engines load" | "engines unload";

/** What the command line says. */
export interface Flags {
  /**
   * `start` runs; `check` reads the configuration, says what is wrong and ends; `engines probe` asks an engine what it
   * is and ends, the other ones of `engines` list, load and unload its models.
   */
  readonly command: "start" | "check" | EngineCommand | "help";
  readonly config: string | undefined;
  readonly port: number | undefined;
  readonly adminPort: number | undefined;
  readonly dataDir: string | undefined;
  readonly engines: readonly string[];
  readonly chatTemplate: string | undefined;
  readonly tokenizer: string | undefined;
  readonly toolParser: ToolParser;
  readonly reasoningParser: ReasoningParser;
  /** Of `engines load` and `engines unload`: what the engine calls the model. */
  readonly engineModel: string;
  /** Of the commands of `engines`: a file with the credential that the engine wants. */
  readonly engineKeyFile: string | undefined;
  /** And the header that carries it as it is. */
  readonly engineKeyHeader: string | undefined;
}

/** Printed by --help. */
export const usage = `Usage: npm start -- [flags]
       npm start -- check [flags]
       npm start -- engines probe|models URL [--engine-key-file FILE [--engine-key-header NAME]]
       npm start -- engines load|unload URL MODEL [--engine-key-file FILE [--engine-key-header NAME]]

  --config FILE          weir.yaml; all its fields are in weir.reference.yaml
  --engine URL           an engine, instead of a file; what it speaks is found by asking (docs/engines.md; may be repeated)
  --chat-template PATH   a jinja file or a tokenizer folder, for engines that take plain text
  --tokenizer PATH       a tokenizer.json or a folder with one, for engines that take token ids only
  --tool-parser NAME     how their models write function calls: hermes, qwen, llama3 and others, as in weir.reference.yaml
  --reasoning-parser NAME  how they mark what they think: deepseek_r1, qwen3 and others
  --port N               the API's port (8080)
  --admin-port N         the port of health and metrics (9090)
  --data-dir DIR         where keys and the embedded database live (data)

  check                  read the configuration, say everything that is wrong, and end (exit code 78)
  engines probe URL      ask an engine what it speaks, which models it has and what they lack, and end
  engines models URL     list the models of Triton's repository, loaded or not
  engines load URL MODEL, engines unload URL MODEL
                         have Triton load or unload one (it needs --model-control-mode=explicit)

Without --config and --engine a demo runs, on a simulated engine.`;

const options = {
  config: { type: "string" },
  port: { type: "string" },
  "admin-port": { type: "string" },
  "data-dir": { type: "string" },
  engine: { type: "string", multiple: true },
  "chat-template": { type: "string" },
  tokenizer: { type: "string" },
  "tool-parser": { type: "string" },
  "reasoning-parser": { type: "string" },
  "engine-key-file": { type: "string" },
  "engine-key-header": { type: "string" },
  help: { type: "boolean", short: "h" },
} as const;

const headerName = /^[a-z0-9][a-z0-9_-]{0,127}$/;

/** Reads the command line; says everything that is wrong with it at once. */
export function parseFlags(
  args: readonly string[],
): { readonly flags: Flags } | { readonly problems: readonly string[] } {
  const problems: string[] = [];
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(args);
  } catch (error) {
    return { problems: [error instanceof Error ? error.message : String(error)] };
  }
  const { values, positionals } = parsed;
  const { command, urls, engineModel = "" } = commandOf(positionals, problems);
  if (values.config !== undefined && values.engine !== undefined) {
    problems.push("--engine and --config: name the engines in the file, or use --engine alone");
  }
  if (values["chat-template"] !== undefined && values.engine === undefined) {
    problems.push("--chat-template goes with --engine; in a file it is `chat_template` of a model");
  }
  if (values.tokenizer !== undefined && values.engine === undefined) {
    problems.push("--tokenizer goes with --engine; in a file it is `tokenizer` of a model");
  }
  if (values["engine-key-file"] !== undefined && !command.startsWith("engines ")) {
    problems.push(
      "--engine-key-file goes with `engines probe` and its like; in a file it is `engine_key_file` of a pool",
    );
  }
  if (values["engine-key-header"] !== undefined && values["engine-key-file"] === undefined) {
    problems.push("--engine-key-header goes with --engine-key-file; in a file it is `engine_key_header` of a pool");
  }
  if (!headerName.test(values["engine-key-header"] ?? "a"))
    problems.push("--engine-key-header is no name of a header: lower-case letters, digits, - and _");
  for (const parser of ["tool-parser", "reasoning-parser"] as const) {
    if (values[parser] !== undefined && values["chat-template"] === undefined)
      problems.push(`--${parser} goes with --chat-template: without one the engine reads its answer itself`);
  }
  const toolParser = valueOf("--tool-parser", ToolParserSchema, ToolParser, values["tool-parser"], problems);
  const reasoningParser = valueOf(
    "--reasoning-parser",
    ReasoningParserSchema,
    ReasoningParser,
    values["reasoning-parser"],
    problems,
  );
  const engines = [
    ...(values.engine ?? []).flatMap((given) => urlOf(`--engine ${given}`, given, problems)),
    ...urls.flatMap((given) => urlOf(`${command} ${given}`, given, problems)),
  ];
  const port = portOf("--port", values.port, problems);
  const adminPort = portOf("--admin-port", values["admin-port"], problems);
  if (problems.length > 0) return { problems };
  const flags: Flags = {
    command: values.help === true ? "help" : command,
    config: values.config,
    port,
    adminPort,
    dataDir: values["data-dir"],
    engines,
    chatTemplate: values["chat-template"],
    tokenizer: values.tokenizer,
    toolParser,
    reasoningParser,
    engineModel,
    engineKeyFile: values["engine-key-file"],
    engineKeyHeader: values["engine-key-header"],
  };
  return { flags };
}

function parse(args: readonly string[]) {
  return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
}

/** The commands of `engines`, with what they want to know. */
const engineCommands: Readonly<Record<string, { readonly command: EngineCommand; readonly wants: string }>> = {
  probe: { command: "engines probe", wants: "URL" },
  models: { command: "engines models", wants: "URL" },
  load: { command: "engines load", wants: "URL MODEL" },
  unload: { command: "engines unload", wants: "URL MODEL" },
};

interface Command {
  readonly command: Exclude<Flags["command"], "help">;
  readonly urls: readonly string[];
  readonly engineModel?: string | undefined;
}

function commandOf(positionals: readonly string[], problems: string[]): Command {
  const [first = "start", second, ...rest] = positionals;
  if ((first === "start" || first === "check") && second === undefined) return { command: first, urls: [] };
  if (first === "engines") {
    const known = Object.hasOwn(engineCommands, second ?? "") ? engineCommands[second ?? ""] : undefined;
    const [url, engineModel] = rest;
    if (known && url !== undefined && rest.length === known.wants.split(" ").length)
      return { command: known.command, urls: [url], engineModel };
    const asked = known ? [known] : Object.values(engineCommands);
    problems.push(`write: ${asked.map(({ command, wants }) => `${command} ${wants}`).join(", or ")}`);
  } else problems.push(`unknown command: ${positionals.join(" ")}`);
  return { command: "start", urls: [] };
}

function urlOf(named: string, given: string, problems: string[]): readonly string[] {
  const checked = engineUrl(given, { allowPrivate: false });
  if ("url" in checked) return [checked.url];
  problems.push(`${named}: ${checked.problem}`);
  return [];
}

/** An enum's value by its short name; unspecified if none was given. */
function valueOf<T extends number>(
  flag: string,
  desc: DescEnum,
  values: { readonly UNSPECIFIED: T } & Readonly<Record<string, T>>,
  given: string | undefined,
  problems: string[],
): T {
  if (given === undefined) return values.UNSPECIFIED;
  const found = enumValue(desc, given);
  if (typeof found !== "number") problems.push(`${flag} ${given}: ${found.problem}`);
  return Object.values(values).find((value) => value === found) ?? values.UNSPECIFIED;
}

function portOf(flag: string, given: string | undefined, problems: string[]): number | undefined {
  if (given === undefined) return undefined;
  const port = /^\d{1,5}$/.test(given) ? Number(given) : Number.NaN;
  if (port >= 0 && port <= 65_535) return port;
  problems.push(`${flag} ${given}: must be a port, 0 to 65535`);
  return undefined;
}
