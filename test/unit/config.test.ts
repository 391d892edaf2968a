import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer } from "tokenizers";
import { describe, expect, it } from "vitest";
import { parseFlags } from "../../services/runtime/config/flags.ts";
import { loadSettings } from "../../services/runtime/config/load.ts";
import { byteLevelTokenizer, tokenizerFolder } from "../fakes/tokenizer-files.ts";
import { ConfigError } from "../../services/runtime/config/problem.ts";

const folder = mkdtempSync(join(tmpdir(), "weir-config-"));
let files = 0;

function load(text: string, variables: Record<string, string> = {}) {
  const file = join(folder, `weir-${files++}.yaml`);
  writeFileSync(file, text);
  const parsed = parseFlags(["--config", file]);
  if (!("flags" in parsed)) throw new Error(parsed.problems.join("\n"));
  return loadSettings(parsed.flags, (name) => variables[name]);
}

function problemsOf(text: string, variables: Record<string, string> = {}) {
  try {
    load(text, variables);
  } catch (error) {
    if (error instanceof ConfigError)
      return error.problems.map((p) => ({ line: p.line, path: p.path, message: p.message }));
    throw error;
  }
  return [];
}

const tokenizer = tokenizerFolder(byteLevelTokenizer(), {
  "tokenizer_config.json": { eos_token: { content: "<|end|>" }, pad_token: "<|start|>" },
  "generation_config.json": { eos_token_id: [3, 4] },
});
const broken = tokenizerFolder({});
const pieces = tokenizerFolder({
  ...byteLevelTokenizer(),
  decoder: { type: "WordPiece", prefix: "##", cleanup: true },
});

const base = `pools:
  - id: gpu
    replicas: [{ url: "grpc://10.0.0.1:8001" }]
`;

describe("a configuration file", () => {
  it("fills in every default", () => {
    const { settings } = load(base);
    expect(settings.listen).toEqual({ host: "127.0.0.1", port: 8080, adminPort: 9090, meshPort: 7070 });
    expect(settings.pools[0]?.replicas[0]).toEqual({
      id: "gpu-0",
      url: "grpc://10.0.0.1:8001",
      httpUrl: "",
      dialect: 0,
    });
    expect([...settings.roles]).toEqual(["edge", "router", "catalog", "auth", "quota", "usage"]);
    expect(settings.pools[0]).toMatchObject({ idleTimeoutMs: 20_000, toolIdleTimeoutMs: 600_000 });
  });

  it("reports every problem at once, in the order of the file, each with its line", () => {
    const found = problemsOf(`listen:
  port: 99999
  hots: 0.0.0.0
router:
  queue_timeout: 5
pools:
  - id: gpu
    replicas:
      - url: ftp://x:1
        dialect: tritn
`);
    expect(found.map((p) => [p.line, p.path])).toEqual([
      [2, "listen.port"],
      [3, "listen.hots"],
      [5, "router.queue_timeout"],
      [9, "pools[0].replicas[0].url"],
      [10, "pools[0].replicas[0].dialect"],
    ]);
    expect(found[4]?.message).toContain("triton, openai");
  });

  it("says of one place only once what is wrong with it", () => {
    const found = problemsOf(`pools:
  - id: [gpu]
    replicas: [7, { url: "grpc://h:1" }]
`);
    expect(found.map((p) => [p.line, p.path])).toEqual([
      [2, "pools[0].id"],
      [3, "pools[0].replicas[0]"],
    ]);
  });

  it("reports every broken rule with its line", () => {
    const found = problemsOf(`listen:
  port: 99999
router:
  queue_max: 0
  attempts_max: -1
pools:
  - id: "gpu one"
    replicas: []
`);
    expect(found.map((p) => [p.line, p.path])).toEqual([
      [2, "listen.port"],
      [4, "router.queue_max"],
      [5, "router.attempts_max"],
      [7, "pools[0].id"],
      [8, "pools[0].replicas"],
    ]);
  });
});

/** K1, K2, K4, K9, K10 of the catalogue of bad input: text, line, path, and a part of the message. */
it("reads a tokenizer, and which tokens end an answer", () => {
  const file = join(mkdtempSync(join(tmpdir(), "weir-config-")), "weir.yaml");
  const { folder: path, sha256 } = tokenizer;
  writeFileSync(file, `${base}models: [{ id: a, pool: gpu, tokenizer: { path: ${path}, sha256: "${sha256}" } }]\n`);
  const parsed = parseFlags(["--config", file]);
  if (!("flags" in parsed)) throw new Error(parsed.problems.join("\n"));
  const end = Tokenizer.fromString(tokenizer.text).tokenToId("<|end|>") ?? 0;
  const wanted = {
    path: tokenizer.path,
    sha256,
    endIds: [end, 3, 4],
    padId: end + 1,
    specialTokens: ["<|end|>", "<|start|>"],
  };
  expect(loadSettings(parsed.flags).settings.models[0]?.tokenizer).toEqual(wanted);
  const flags = parseFlags(["--engine", "grpc://h:1", "--tokenizer", path]);
  if (!("flags" in flags)) throw new Error(flags.problems.join("\n"));
  expect(loadSettings(flags.flags).settings.pools[0]?.discover?.tokenizer).toEqual(wanted);
  expect(parseFlags(["--tokenizer", path])).toMatchObject({ problems: [expect.stringContaining("--engine")] });
});

const refused: readonly (readonly [name: string, text: string, line: number, path: string, message: string])[] = [
  ["an unknown key", `${base}modles: []\n`, 4, "modles", "unknown key"],
  ["a wrong type", `${base}http: { strict: "yes" }\n`, 4, "http.strict", "true or false"],
  ["a list where a mapping belongs", `${base}http: []\n`, 4, "http", "mapping"],
  [
    "a missing required field",
    `pools:\n  - id: gpu\n    replicas: [{ id: a }]\n`,
    3,
    "pools[0].replicas[0].url",
    "at least 1",
  ],
  ["a file without engines", "log: { level: info }\n", 0, "pools", "no engine is named"],
  ["a key twice", `${base}log: { level: info }\nlog: { level: warn }\n`, 5, "", "unique"],
  ["a tab as indentation", `${base}log:\n\tlevel: info\n`, 5, "", "ab"],
  ["1_000 as a number", `${base}router: { queue_max: 1_000 }\n`, 4, "router.queue_max", "whole number"],
  ["no as a boolean", `${base}http: { strict: no }\n`, 4, "http.strict", "true or false"],
  [
    "two pools of one id",
    `${base}  - id: gpu\n    replicas: [{ id: b, url: "grpc://10.0.0.2:8001" }]\n`,
    4,
    "pools[1].id",
    "defined twice",
  ],
  [
    "two replicas of one id",
    `${base}  - id: cpu\n    replicas: [{ id: gpu-0, url: "grpc://10.0.0.2:8001" }]\n`,
    5,
    "pools[1].replicas[0].id",
    "defined twice",
  ],
  [
    "two models of one id",
    `${base}models: [{ id: a, pool: gpu }, { id: a, pool: gpu }]\n`,
    4,
    "models[1].id",
    "defined twice",
  ],
  ["a model without its pool", `${base}models: [{ id: a, pool: gpus }]\n`, 4, "models[0].pool", "defined here: gpu"],
  [
    "aliases in a circle",
    `${base}aliases: [{ id: a, model: b }, { id: b, model: a }]\n`,
    4,
    "aliases[0].model",
    "a -> b -> a",
  ],
  [
    "fallbacks in a circle",
    `${base}models: [{ id: a, pool: gpu, fallbacks: [b] }, { id: b, pool: gpu, fallbacks: [a] }]\n`,
    4,
    "models[0].fallbacks",
    "circle",
  ],
  [
    "an alias that hides a model",
    `${base}models: [{ id: a, pool: gpu }]\naliases: [{ id: a, model: a }]\n`,
    5,
    "aliases[0].id",
    "hides the model",
  ],
  ["an alias of nothing", `${base}aliases: [{ id: a, model: b }]\n`, 4, "aliases[0].model", "no model or alias"],
  ["a limit of zero", `${base}router: { queue_max: 0 }\n`, 4, "router.queue_max", ""],
  ["a negative limit", `${base}http: { body_bytes_max: -1 }\n`, 4, "http.body_bytes_max", ""],
  ["a limit over int64", `${base}http: { body_bytes_max: 9223372036854775808 }\n`, 4, "http.body_bytes_max", "between"],
  ["a time of zero", `${base}router: { queue_timeout: 0s }\n`, 4, "router.queue_timeout", ""],
  [
    "an address with a credential",
    `pools: [{ id: gpu, replicas: [{ url: "http://u:p@h:1" }] }]\n`,
    1,
    "pools[0].replicas[0].url",
    "credential",
  ],
  [
    "an address of a file",
    `pools: [{ id: gpu, replicas: [{ url: "file:///etc/passwd" }] }]\n`,
    1,
    "pools[0].replicas[0].url",
    "address",
  ],
  [
    "a query in an address",
    `pools: [{ id: gpu, replicas: [{ url: "http://h:1/v1?api-version=1" }] }]\n`,
    1,
    "pools[0].replicas[0].url",
    "query",
  ],
  [
    "another query than the version of a deployment",
    `pools: [{ id: gpu, replicas: [{ url: "https://h/openai/deployments/d?api-version=1&key=secret" }] }]\n`,
    1,
    "pools[0].replicas[0].url",
    "query",
  ],
  [
    "a metadata server",
    `pools: [{ id: gpu, replicas: [{ url: "http://169.254.169.254" }] }]\n`,
    1,
    "pools[0].replicas[0].url",
    "allow_private",
  ],
  [
    "a metadata server as IPv6",
    `pools: [{ id: gpu, replicas: [{ url: "http://[::ffff:169.254.169.254]:80" }] }]\n`,
    1,
    "pools[0].replicas[0].url",
    "allow_private",
  ],
  [
    "an address of HTTP that is none",
    `pools: [{ id: gpu, replicas: [{ url: "grpc://h:1", http_url: "grpc://h:2" }] }]\n`,
    1,
    "pools[0].replicas[0].http_url",
    "no HTTP address",
  ],
  [
    "an address of HTTP at a metadata server",
    `pools: [{ id: gpu, replicas: [{ url: "grpc://h:1", http_url: "http://169.254.169.254" }] }]\n`,
    1,
    "pools[0].replicas[0].http_url",
    "allow_private",
  ],
  ["edge without router", `${base}roles: [edge, catalog, auth, quota, usage]\n`, 4, "roles", "go together"],
  [
    "a role elsewhere that is not named",
    `${base}roles: [edge, router, auth, quota, usage]\n`,
    1,
    "mesh.peers",
    "catalog",
  ],
  ["a variable that is not set", `${base}postgres: { url: "\${NO_SUCH}" }\n`, 4, "postgres.url", "NO_SUCH"],
  [
    "a template that is not there",
    `${base}models: [{ id: a, pool: gpu, chat_template: none.jinja }]\n`,
    4,
    "models[0].chat_template",
    "does not exist",
  ],
  [
    "a tokenizer that is not there",
    `${base}models: [{ id: a, pool: gpu, tokenizer: { path: none, sha256: "${"0".repeat(64)}" } }]\n`,
    4,
    "models[0].tokenizer",
    "none does not exist; name a tokenizer.json",
  ],
  [
    "a tokenizer without its digest",
    `${base}models: [{ id: a, pool: gpu, tokenizer: { path: ${tokenizer.folder} } }]\n`,
    4,
    "models[0].tokenizer.sha256",
    "^[0-9a-f]{64}$",
  ],
  [
    "a tokenizer with another digest",
    `${base}models: [{ id: a, pool: gpu, tokenizer: { path: ${tokenizer.folder}, sha256: "${"0".repeat(64)}" } }]\n`,
    4,
    "models[0].tokenizer",
    `tokenizer.json has the SHA-256 ${tokenizer.sha256}, not the one`,
  ],
  [
    "a file that is no tokenizer",
    `${base}models: [{ id: a, pool: gpu, tokenizer: { path: ${broken.path}, sha256: ${broken.sha256} } }]\n`,
    4,
    "models[0].tokenizer",
    "is no tokenizer.json: Model missing",
  ],
  [
    "a tokenizer whose text can't be streamed",
    `${base}models: [{ id: a, pool: gpu, tokenizer: { path: ${pieces.path}, sha256: ${pieces.sha256} } }]\n`,
    4,
    "models[0].tokenizer",
    "decodes with WordPiece",
  ],
  [
    "a parser of answers that the engine reads itself",
    `${base}models: [{ id: a, pool: gpu, tool_parser: hermes }]\n`,
    4,
    "models[0].tool_parser",
    "needs chat_template",
  ],
  [
    "a parser that does not exist",
    `${base}models: [{ id: a, pool: gpu, reasoning_parser: loud }]\n`,
    4,
    "models[0].reasoning_parser",
    "deepseek_r1, qwen3, mistral",
  ],
];

describe("a configuration is refused for", () => {
  it.each(refused)("%s", (_name, text, line, path, message) => {
    const found = problemsOf(text);
    expect(found[0]).toMatchObject({ line, path });
    expect(found[0]?.message).toContain(message);
  });

  it("a bomb of aliases, within a second", () => {
    const rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"];
    for (let i = 1; i < 12; i++) rows.push(`a${i}: &a${i} [${`*a${i - 1}, `.repeat(9)}]`);
    const before = performance.now();
    expect(problemsOf(rows.join("\n")).length).toBeGreaterThan(0);
    expect(problemsOf(`${rows.join("\n")}\nextensions: *a11\n`).length).toBeGreaterThan(0);
    expect(performance.now() - before).toBeLessThan(1_000);
  });
});

describe("values", () => {
  it("takes 0o17 as YAML 1.2 does, and an address that is meant", () => {
    expect(load(`${base}router: { queue_max: 0o17 }\n`).settings.router.queueMax).toBe(15);
    const meant = `pools: [{ id: gpu, allow_private: true, replicas: [{ url: "http://169.254.169.254" }] }]\n`;
    expect(load(meant).settings.pools[0]?.replicas[0]?.url).toBe("http://169.254.169.254");
  });

  it("keeps the version of a deployment's address", () => {
    const url = "https://x.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21";
    expect(load(`pools: [{ id: gpu, replicas: [{ url: "${url}" }] }]\n`).settings.pools[0]?.replicas[0]?.url).toBe(url);
  });

  it("takes the header of an engine's credential, and says what is wrong with it", () => {
    const pool = (more: string) => `pools: [{ id: gpu, ${more}, replicas: [{ url: "http://h:1" }] }]\n`;
    const { settings } = load(pool("engine_key: '${ENGINE}', engine_key_header: x-key"), { ENGINE: "hunter2" });
    expect(settings.pools[0]).toMatchObject({ engineKey: "hunter2", engineKeyHeader: "x-key" });
    const wrong = (more: string) => problemsOf(pool(more)).map(({ path }) => path);
    expect(wrong("engine_key_header: x-key")).toEqual(["pools[0].engine_key_header"]);
    for (const name of ["X-Key", "te", "a b"])
      expect(wrong(`engine_key: x, engine_key_header: "${name}"`)).toContain("pools[0].engine_key_header");
  });

  it("warns of a secret in the file, and not of one from the environment", () => {
    const inline = `pools: [{ id: gpu, engine_key: hunter2, replicas: [{ url: "http://h:1" }] }]\n`;
    expect(load(inline).warnings).toMatchObject([{ line: 1, path: "pools[0].engine_key" }]);
    const named = `pools: [{ id: gpu, engine_key: "\${ENGINE}", replicas: [{ url: "http://h:1" }] }]\n`;
    const loaded = load(named, { ENGINE: "hunter2" });
    expect(loaded.warnings).toEqual([]);
    expect(loaded.settings.pools[0]?.engineKey).toBe("hunter2");
  });
});
