import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { create, type DescMessage } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { ConfigSchema } from "../../gen/ts/weir/config/v1/config_pb.ts";
import { checkConfig } from "../../services/runtime/config/check.ts";
import { defaults } from "../../services/runtime/config/defaults.ts";
import { resolveSettings } from "../../services/runtime/config/resolve.ts";
import { walkYaml } from "../../services/runtime/config/walk.ts";

const folder = resolve(import.meta.dirname, "../..");
const text = readFileSync(resolve(folder, "weir.reference.yaml"), "utf8");
const walked = walkYaml(text, ConfigSchema, () => undefined);

/** The path of every field in the contract, the first item standing for a list's. */
function pathsOf(desc: DescMessage, prefix = ""): string[] {
  return desc.fields.flatMap((field) => {
    const path = prefix === "" ? field.name : `${prefix}.${field.name}`;
    if (field.fieldKind === "list" && field.listKind === "message")
      return [path, ...pathsOf(field.message, `${path}[0]`)];
    if (field.fieldKind === "message" && field.message.typeName !== "google.protobuf.Duration") {
      return [path, ...pathsOf(field.message, path)];
    }
    return [path];
  });
}

const resolved = (config: Parameters<typeof resolveSettings>[0]) =>
  resolveSettings(config, {
    folder,
    dataDir: undefined,
    say: (problem) => {
      throw new Error(`${problem.path}: ${problem.message}`);
    },
  });

describe("weir.reference.yaml", () => {
  it("is a valid configuration", () => {
    expect(walked.problems).toEqual([]);
    expect(checkConfig(walked).problems).toEqual([]);
  });

  it.each(pathsOf(ConfigSchema))("has %s, set or commented out", (path) => {
    const key = path.split(".").at(-1);
    expect(walked.lines.has(path) || new RegExp(`^ *# +${key}:( |$)`, "m").test(text)).toBe(true);
  });

  it("explains every field", () => {
    const bare = text.split("\n").filter((line, index, lines) => {
      const isTop = /^[a-z_]+:/.test(line);
      return isTop && !(lines[index - 1] ?? "").startsWith("#");
    });
    expect(bare).toEqual([]);
  });

  it("names the code's own defaults", () => {
    const reference = resolved(checkConfig(walked).config);
    const empty = resolved(create(ConfigSchema));
    const { models, aliases, pools, ...rest } = reference;
    const { models: _models, aliases: _aliases, pools: _pools, ...expected } = empty;
    expect(rest).toEqual(expected);
    expect(pools[0]).toMatchObject(defaults.pool);
    expect(models[0]).toMatchObject(defaults.model);
    expect(aliases).toHaveLength(1);
  });
});
