import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ControlText, ReasoningParser, ToolParser } from "../../gen/ts/weir/catalog/v1/model_pb.ts";
import { parseFlags } from "../../services/runtime/config/flags.ts";
import { loadSettings } from "../../services/runtime/config/load.ts";

const folder = mkdtempSync(join(tmpdir(), "weir-flags-"));
const template = join(folder, "t.jinja");
writeFileSync(template, "<|user|>{{ messages }}");

function problemsOf(...args: string[]): readonly string[] {
  const parsed = parseFlags(args);
  return "problems" in parsed ? parsed.problems : [];
}

test("engines of the command line get a template and parsers", () => {
  const args = ["--engine", "grpc://10.0.0.1:8001", "--chat-template", template];
  const parsed = parseFlags([...args, "--tool-parser", "hermes", "--reasoning-parser", "deepseek_r1"]);
  if (!("flags" in parsed)) throw new Error(parsed.problems.join("\n"));
  expect(loadSettings(parsed.flags).settings.pools[0]?.discover).toMatchObject({
    chatTemplate: { controlTokens: ["<|user|>"] },
    toolParser: ToolParser.HERMES,
    reasoningParser: ReasoningParser.DEEPSEEK_R1,
  });
});

test("a parser has to be known, and to have something to read", () => {
  const engine = ["--engine", "grpc://10.0.0.1:8001"];
  expect(problemsOf(...engine, "--tool-parser", "hermes")).toEqual([expect.stringContaining("--chat-template")]);
  expect(problemsOf(...engine, "--chat-template", template, "--reasoning-parser", "loud")).toEqual([
    expect.stringMatching(/--reasoning-parser loud: must be one of: deepseek_r1, qwen3/),
  ]);
});

test("a file says the same of a model", () => {
  const file = join(folder, "weir.yaml");
  writeFileSync(
    file,
    `pools:
  - { id: gpu, replicas: [{ url: "grpc://10.0.0.1:8001" }] }
models:
  - { id: a, pool: gpu, chat_template: t.jinja, tool_parser: glm, reasoning_parser: glm, control_text: reject }
  - { id: b, pool: gpu, chat_template: t.jinja }
`,
  );
  const parsed = parseFlags(["--config", file]);
  if (!("flags" in parsed)) throw new Error(parsed.problems.join("\n"));
  expect(loadSettings(parsed.flags).settings.models).toMatchObject([
    { toolParser: ToolParser.GLM, reasoningParser: ReasoningParser.GLM, controlText: ControlText.REJECT },
    {
      toolParser: ToolParser.UNSPECIFIED,
      reasoningParser: ReasoningParser.UNSPECIFIED,
      controlText: ControlText.NEUTRALISE,
    },
  ]);
});
