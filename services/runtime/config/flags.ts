import { parseArgs } from "node:util";
import { engineUrl } from "./engine-url.ts";

/** What the command line says. */
export interface Flags {
  /** `start` runs; `check` reads the configuration, says what is wrong and ends. */
  readonly command: "start" | "check" | "help";
  readonly config: string | undefined;
  readonly port: number | undefined;
  readonly adminPort: number | undefined;
  readonly dataDir: string | undefined;
  readonly engines: readonly string[];
  readonly chatTemplate: string | undefined;
}

/** Printed by --help. */
export const usage = `Usage: npm start -- [check] [flags]

  --config FILE          weir.yaml; all its fields are in weir.reference.yaml
  --engine URL           an engine, instead of a file: Triton's gRPC or OpenAI-compatible HTTP (may be repeated)
  --chat-template PATH   a jinja file or a tokenizer folder, for engines that take plain text
  --port N               the API's port (8080)
  --admin-port N         the port of health and metrics (9090)
  --data-dir DIR         where keys and the embedded database live (data)

  check                  read the configuration, say everything that is wrong, and end (exit code 78)

Without --config and --engine a demo runs, on a simulated engine.`;

const options = {
  config: { type: "string" },
  port: { type: "string" },
  "admin-port": { type: "string" },
  "data-dir": { type: "string" },
  engine: { type: "string", multiple: true },
  "chat-template": { type: "string" },
  help: { type: "boolean", short: "h" },
} as const;

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
  const [command = "start", ...rest] = positionals;
  if (rest.length > 0 || (command !== "start" && command !== "check"))
    problems.push(`unknown command: ${positionals.join(" ")}`);
  if (values.config !== undefined && values.engine !== undefined) {
    problems.push("--engine and --config: name the engines in the file, or use --engine alone");
  }
  if (values["chat-template"] !== undefined && values.engine === undefined) {
    problems.push("--chat-template goes with --engine; in a file it is `chat_template` of a model");
  }
  const engines = (values.engine ?? []).flatMap((given) => {
    const checked = engineUrl(given, { allowPrivate: false });
    if ("url" in checked) return [checked.url];
    problems.push(`--engine ${given}: ${checked.problem}`);
    return [];
  });
  const port = portOf("--port", values.port, problems);
  const adminPort = portOf("--admin-port", values["admin-port"], problems);
  if (problems.length > 0) return { problems };
  const flags: Flags = {
    command: values.help === true ? "help" : command === "check" ? "check" : "start",
    config: values.config,
    port,
    adminPort,
    dataDir: values["data-dir"],
    engines,
    chatTemplate: values["chat-template"],
  };
  return { flags };
}

function parse(args: readonly string[]) {
  return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
}

function portOf(flag: string, given: string | undefined, problems: string[]): number | undefined {
  if (given === undefined) return undefined;
  const port = /^\d{1,5}$/.test(given) ? Number(given) : Number.NaN;
  if (port >= 0 && port <= 65_535) return port;
  problems.push(`${flag} ${given}: must be a port, 0 to 65535`);
  return undefined;
}
