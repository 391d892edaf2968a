import { execFile } from "node:child_process";
import { cp, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { type FakeHttp, startFakeHttp } from "../fakes/fake-http.ts";
import { openFolder } from "../fakes/open-folder.ts";
import { eventsOf } from "../fakes/raw-request.ts";
import { startWeirProcess } from "../fakes/weir-process.ts";
import { blockOf, codeBlocks } from "./code-blocks.ts";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "../..");
const blocks = codeBlocks(await readFile(join(root, "docs/drivers.md"), "utf8"));
const walk = "From an empty folder to an answer";
const timeout = 120_000;
const replicaContract = "proto/weir/catalog/v1/replica.proto";

let clone: string;
let engine: FakeHttp;
beforeAll(async () => {
  clone = await openFolder("weir-drivers-");
  for (const name of ["gen", "proto", "scripts", "services"])
    await cp(join(root, name), join(clone, name), { recursive: true });
  for (const name of ["node_modules", "package.json", "buf.yaml", "buf.gen.yaml", "examples"])
    await symlink(join(root, name), join(clone, name));
  engine = await startLlamaCpp();
});
afterAll(async () => {
  await engine?.[Symbol.asyncDispose]();
  await rm(clone, { recursive: true, force: true });
});

/** Of all that `npm run generate` writes, the code of the one contract that was changed. */
async function generateCatalog(): Promise<void> {
  const { plugins, inputs } = parse(await readFile(join(root, "buf.gen.yaml"), "utf8")) as Record<
    "plugins" | "inputs",
    unknown
  >;
  const template = JSON.stringify({ version: "v2", plugins, inputs });
  const script = `
    import { buf, root, writeValidateProto } from "./scripts/buf.ts";
    writeValidateProto(root);
    buf(root, "generate", "--template", ${JSON.stringify(template)}, "--path", "${replicaContract}");
  `;
  await run(process.execPath, ["--input-type=module", "-e", script], { cwd: clone, timeout });
}

/** Speaks llama.cpp's protocol: three pieces, of which the last one is the end. */
function startLlamaCpp(): Promise<FakeHttp> {
  const settings = { n_ctx: 4_096 };
  return startFakeHttp({
    routes: { "/props": { default_generation_settings: settings, model_path: "/models/small.gguf" } },
    generate(exchange) {
      exchange.startStream();
      exchange.event({ content: "A weir", tokens: [1, 2], stop: false });
      exchange.event({ content: " measures", tokens: [3], stop: false });
      exchange.event({
        content: "",
        tokens: [],
        stop: true,
        stop_type: "limit",
        tokens_predicted: 3,
        tokens_evaluated: 4,
      });
      exchange.response.end();
    },
  });
}

/** Adds the lines of a patch that begin with a plus, each behind the line before it. */
function patched(text: string, patch: string): string {
  let [result, before] = [text, ""];
  for (const line of patch.split("\n")) {
    if (line.startsWith(" ")) before = line.slice(1);
    if (!line.startsWith("+")) continue;
    if (result.split(`${before}\n`).length !== 2) throw new Error(`not one line is ${before}`);
    result = result.replace(`${before}\n`, `${before}\n${line.slice(1)}\n`);
  }
  return result;
}

test("the walk leads from an empty folder to an answer", { timeout }, async () => {
  const contract = join(clone, replicaContract);
  const text = await readFile(contract, "utf8");
  const name = blockOf(blocks, walk, "proto");
  await writeFile(
    contract,
    text.replace(/(enum Dialect \{[\s\S]*?)\n\}/, (_, rest) => `${rest}\n${name}}`),
  );
  await generateCatalog();

  const driver = blockOf(blocks, walk, "ts");
  const path = join(clone, /^\/\/ (\S+)\n/.exec(driver)?.[1] ?? "");
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, driver);
  const registry = join(clone, "services/drivers/registry.ts");
  await writeFile(registry, patched(await readFile(registry, "utf8"), blockOf(blocks, walk, "diff")));

  await using weir = await startWeirProcess({ repository: clone, args: ["--engine", engine.url] });
  const answer = await fetch(`${weir.url}/v1/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${weir.key}`, "content-type": "application/json" },
    body: JSON.stringify({
      model: "small.gguf",
      prompt: "A river",
      max_tokens: 3,
      top_k: 5,
      stream: true,
      stream_options: { include_usage: true },
    }),
  });
  const body = await answer.text();
  expect([answer.status, body]).toEqual([200, expect.any(String)]);
  const { text: said, finishes, usage, errors } = eventsOf(body);
  expect([said, finishes, errors]).toEqual(["A weir measures", ["length"], []]);
  expect(usage).toMatchObject({ prompt_tokens: 4, completion_tokens: 3 });
  expect(engine.requests[0]?.body).toEqual({
    prompt: "A river",
    stream: true,
    n_predict: 3,
    top_k: 5,
    stop: [],
  });
});
