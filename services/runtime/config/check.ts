import { fromJson } from "@bufbuild/protobuf";
import { createValidator, ValidationError } from "@bufbuild/protovalidate";
import { pathToString } from "@bufbuild/protobuf/reflect";
import { type Config, ConfigSchema } from "../../../gen/ts/weir/config/v1/config_pb.ts";
import type { Problem } from "./problem.ts";
import type { Walked } from "./walk.ts";

const validator = createValidator();

/** The message that a file holds, with every violation of the contract's rules. */
export function checkConfig(walked: Walked): { readonly config: Config; readonly problems: readonly Problem[] } {
  const config = fromJson(ConfigSchema, walked.json);
  const result = validator.validate(ConfigSchema, config);
  if (result.kind === "valid") return { config, problems: [] };
  if (!(result.error instanceof ValidationError)) throw result.error;
  const problems = result.error.violations.map((violation) => {
    const path = pathToString(violation.field);
    return { path, line: lineOf(path, walked.lines), message: violation.message };
  });
  return { config, problems };
}

/** The line of a path, or of the nearest thing around it that the file has. */
export function lineOf(path: string, lines: ReadonlyMap<string, number>): number {
  for (let at = path; at !== ""; at = at.replace(/(\.[^.[\]]*|\[[^[\]]*\]|^[^.[\]]+)$/, "")) {
    const line = lines.get(at);
    if (line !== undefined) return line;
  }
  return lines.get("") ?? 0;
}
