/** Something wrong in a configuration file, where it stands. */
export interface Problem {
  /** From 1; 0 if it is about the whole file. */
  readonly line: number;
  /** `pools[0].replicas[1].url`; empty for the whole file. */
  readonly path: string;
  /** What is wrong and what to write instead. */
  readonly message: string;
}

/** Thrown with everything that is wrong at once; the process exits with 78 (EX_CONFIG). */
export class ConfigError extends Error {
  readonly file: string;
  readonly problems: readonly Problem[];

  constructor(file: string, problems: readonly Problem[]) {
    super(problems.map((problem) => formatProblem(file, problem)).join("\n"));
    this.name = "ConfigError";
    this.file = file;
    this.problems = problems;
  }
}

/** `weir.yaml:12: pools[0].replicas[1].url: …`. */
export function formatProblem(file: string, problem: Problem): string {
  const where = problem.line > 0 ? `${file}:${problem.line}` : file;
  return problem.path === "" ? `${where}: ${problem.message}` : `${where}: ${problem.path}: ${problem.message}`;
}
