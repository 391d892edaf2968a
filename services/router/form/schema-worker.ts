import { parentPort } from "node:worker_threads";
import { type Schema, Validator } from "@cfworker/json-schema";
import { LRUCache } from "lru-cache";
import { type LinearPattern, linearPattern } from "./linear-pattern.ts";
import type { FromChecker, ToChecker } from "./schema-messages.ts";
import { readSchema, type SchemaProblem } from "./schema-rules.ts";

// A thread of its own for what tenants write: whoever waits for it can end it, and nothing else waits with it. The
// validator interprets schemas; nothing that a tenant wrote is ever run as code.

/** Found by name by the validator, for `pattern` and `patternProperties`: on this thread no pattern backtracks. */
class LinearRegExp implements LinearPattern {
  readonly #pattern: LinearPattern;

  constructor(source: string) {
    const pattern = linearPattern(source);
    if (typeof pattern === "string") throw new SyntaxError(`a pattern ${pattern}`);
    this.#pattern = pattern;
  }

  test(text: string): boolean {
    return this.#pattern.test(text);
  }
}
Object.assign(globalThis, { RegExp: LinearRegExp });

/** Schemas that were used of late, with what is wrong with them, or what holds answers to them. */
const known = new LRUCache<string, Validator | SchemaProblem>({ max: 64 });

function validatorOf(text: string): Validator | SchemaProblem {
  const before = known.get(text);
  if (before) return before;
  const opened = open(text);
  known.set(text, opened);
  return opened;
}

function open(text: string): Validator | SchemaProblem {
  try {
    const schema: unknown = JSON.parse(text);
    const read = readSchema(schema);
    return typeof read === "string" ? new Validator(schema as Schema, read) : read;
  } catch {
    // What readers of schemas throw quotes them.
    return { path: "", problem: "is no schema that can be used" };
  }
}

function problemOf(schema: string, { kind, text }: NonNullable<ToChecker["answer"]>): string | undefined {
  const validator = validatorOf(schema);
  if (!(validator instanceof Validator)) return "the schema can't be used";
  try {
    const { valid, errors } = validator.validate(kind === "json" ? JSON.parse(text) : text);
    if (valid) return undefined;
    // The last is the innermost. Its place is one of the schema's, and says nothing of the answer; that of a schema that
    // nothing fits is one of the answer's.
    const place = errors.findLast(({ keyword }) => keyword !== "false")?.keywordLocation ?? "#";
    return `it does not fit the schema at ${place.slice(0, 200)}`;
  } catch {
    // Too deep for the stack, most likely.
    return "it can't be held against the schema";
  }
}

function tell(message: FromChecker): void {
  parentPort?.postMessage(message);
}

parentPort?.on("message", ({ number, schema, answer }: ToChecker) => {
  if (answer) return tell({ kind: "answer", number, problem: problemOf(schema, answer) });
  const validator = validatorOf(schema);
  tell({ kind: "schema", number, problem: validator instanceof Validator ? undefined : validator });
});
tell({ kind: "ready" });
