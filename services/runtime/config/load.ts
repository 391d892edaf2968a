import { readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { create } from "@bufbuild/protobuf";
import { ConfigSchema } from "../../../gen/ts/weir/config/v1/config_pb.ts";
import { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { readChatTemplate } from "./chat-template.ts";
import { checkConfig, lineOf } from "./check.ts";
import { defaults } from "./defaults.ts";
import { environment } from "./env.ts";
import type { Flags } from "./flags.ts";
import { ConfigError, type Problem } from "./problem.ts";
import { resolveSettings } from "./resolve.ts";
import { readTokenizer } from "./tokenizer.ts";
import type { ChatTemplateSettings, PlainTextSettings, PoolSettings, Settings, TokenizerSettings } from "./settings.ts";
import { walkYaml } from "./walk.ts";

/** Settings, and what an operator should know of them. */
export interface Loaded {
  readonly settings: Settings;
  readonly warnings: readonly Problem[];
  /** For messages: the file as the operator named it; empty without one. */
  readonly file: string;
}

/** A longer one is no configuration. */
const fileBytesMax = 16 * 1_048_576;

/**
 * Reads the configuration that the command line names. Throws a ConfigError with every problem at once.
 * Without a file, the settings have the pools of `--engine`, or none: a demo.
 */
export function loadSettings(flags: Flags, readEnvironment = environment): Loaded {
  const loaded = flags.config === undefined ? fromFlags(flags) : fromFile(flags.config, flags, readEnvironment);
  const { settings } = loaded;
  const listen = {
    ...settings.listen,
    port: flags.port ?? settings.listen.port,
    adminPort: flags.adminPort ?? settings.listen.adminPort,
  };
  return { ...loaded, settings: { ...settings, listen } };
}

function fromFile(file: string, flags: Flags, readEnvironment: (name: string) => string | undefined): Loaded {
  const path = resolve(file);
  const shown = relative(process.cwd(), path).startsWith("..") ? path : relative(process.cwd(), path);
  const walked = walkYaml(readText(path, shown), ConfigSchema, readEnvironment);
  const problems = [...walked.problems];
  const say = (problem: Problem) => {
    if (!isConsequence(problem.path, walked.problems)) problems.push(problem);
  };
  // Of a file that is no YAML nothing more can be said.
  const checked = walked.problems.some(({ path: at }) => at === "") ? undefined : checkConfig(walked);
  for (const problem of checked?.problems ?? []) say(problem);
  const settings =
    checked &&
    resolveSettings(checked.config, {
      folder: dirname(path),
      dataDir: flags.dataDir,
      say: (problem) => say({ ...problem, line: lineOf(problem.path, walked.lines) }),
    });
  if (settings?.roles.has("catalog") && settings.pools.length === 0) {
    say({
      path: "pools",
      line: 0,
      message: "no engine is named: add a pool with its replicas, or start without --config for a demo",
    });
  }
  if (problems.length > 0 || settings === undefined)
    throw new ConfigError(
      shown,
      problems.sort((a, b) => a.line - b.line),
    );
  return { settings, warnings: walked.inlineSecrets, file: shown };
}

/** Whether a problem only repeats that something at its place, or in the list that it is in, could not be read. */
function isConsequence(path: string, unread: readonly Problem[]): boolean {
  return unread.some((problem) => {
    const place = problem.path.replace(/\[\d+\]$/, "");
    return path === place || path.startsWith(`${place}.`) || path.startsWith(`${place}[`);
  });
}

function fromFlags(flags: Flags): Loaded {
  const context = { folder: process.cwd(), dataDir: flags.dataDir, say: (): undefined => undefined };
  const base = resolveSettings(create(ConfigSchema), context);
  const settings = {
    ...base,
    pools:
      flags.engines.length === 0
        ? []
        : [discoveredPool(flags.engines, { ...flags, chatTemplate: template(flags), tokenizer: tokenizer(flags) })],
  };
  return { settings, warnings: [], file: "" };
}

function template({ chatTemplate: path }: Flags): ChatTemplateSettings | undefined {
  return path === undefined ? undefined : named("--chat-template", () => readChatTemplate(resolve(path)));
}

function tokenizer({ tokenizer: path }: Flags): TokenizerSettings | undefined {
  return path === undefined ? undefined : named("--tokenizer", () => readTokenizer(resolve(path), undefined));
}

/** What a flag names, read. */
function named<T>(flag: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const message = error instanceof Error ? error.message : "cannot be read";
    throw new ConfigError(flag, [{ path: "", line: 0, message }]);
  }
}

const plainTextDefault: PlainTextSettings = { ...defaults.model, chatTemplate: undefined, tokenizer: undefined };

/** A pool of engines that are asked what they have. */
export function discoveredPool(
  urls: readonly string[],
  { chatTemplate, tokenizer: encoder, toolParser, reasoningParser }: PlainTextSettings = plainTextDefault,
  id = "engines",
): PoolSettings {
  return {
    id,
    replicas: urls.map((url, index) => ({ id: `${id}-${index}`, url, httpUrl: "", dialect: Dialect.UNSPECIFIED })),
    hosted: false,
    allowedMembers: [],
    engineKey: undefined,
    concurrencyMax: 0,
    ...defaults.pool,
    discover: { chatTemplate, tokenizer: encoder, toolParser, reasoningParser },
  };
}

function readText(path: string, shown: string): string {
  try {
    const bytes = readFileSync(path);
    if (bytes.length <= fileBytesMax) return bytes.toString("utf8");
    throw new Error(`has ${bytes.length} bytes; a configuration has at most ${fileBytesMax}`);
  } catch (error) {
    const message = error instanceof Error ? error.message : "cannot be read";
    throw new ConfigError(shown, [{ path: "", line: 0, message }]);
  }
}
