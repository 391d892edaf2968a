import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { parseFlags } from "../../services/runtime/config/flags.ts";
import { loadSettings } from "../../services/runtime/config/load.ts";
import { ConfigError } from "../../services/runtime/config/problem.ts";

const variables: Readonly<Record<string, string>> = { EMPTY: "", BLANK: " \n" };
const file = join(mkdtempSync(join(tmpdir(), "weir-config-")), "weir.yaml");

function problemsOf(text: string): readonly string[] {
  writeFileSync(file, text);
  const parsed = parseFlags(["--config", file]);
  if (!("flags" in parsed)) throw new Error(parsed.problems.join("\n"));
  try {
    loadSettings(parsed.flags, (name) => variables[name]);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(({ path, message }) => `${path}: ${message}`);
    throw error;
  }
  return [];
}

/** One pool; `more` is of it, `rest` of the file. */
const yaml = (rest: string, more = "") => `
pools: [{ id: gpu, replicas: [{ url: "http://h:1" }]${more} }]
${rest}
`;
const toDo = "give it a value, or leave this field out";
const writeIt = "/dev/null is empty: write the secret into it, or leave this field out";

// Each would else select the field's default: an embedded database, a pepper of its own, no credential.
it.each([
  ["a database", yaml('postgres: { url: "${EMPTY}" }'), `postgres.url: EMPTY is set but empty: ${toDo}`],
  ["a file's name", yaml('postgres: { url_file: "${BLANK}" }'), `postgres.url_file: BLANK is set but empty: ${toDo}`],
  ["a pepper", yaml('auth: { pepper_file: "${EMPTY}" }'), `auth.pepper_file: EMPTY is set but empty: ${toDo}`],
  ["a part of a value", yaml('data_dir: "/x/${EMPTY}"'), `data_dir: EMPTY is set but empty: ${toDo}`],
  [
    "two variables and one that is not set",
    yaml('data_dir: "/${EMPTY}/${BLANK}/${GONE}"'),
    `data_dir: environment variable not set: GONE; EMPTY is set but empty, BLANK is set but empty: ${toDo}`,
  ],
  ["an engine's key", yaml("", ', engine_key: "${EMPTY}"'), `pools[0].engine_key: EMPTY is set but empty: ${toDo}`],
  ["the file of a key", yaml("", ", engine_key_file: /dev/null"), `pools[0].engine_key_file: ${writeIt}`],
  ["the file of a database", yaml("postgres: { url_file: /dev/null }"), `postgres.url_file: ${writeIt}`],
])("%s that is empty is a problem, and no default", (_, text, problem) => {
  expect(problemsOf(text)).toEqual([problem]);
});
