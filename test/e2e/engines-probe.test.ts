import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openFolder } from "../fakes/open-folder.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";

const main = resolve(import.meta.dirname, "../../services/main.ts");

/** The command as a person runs it. */
const probe = (...args: string[]): Promise<{ code: number; out: string; errors: string }> =>
  new Promise((done) => {
    execFile(process.execPath, [main, "engines", "probe", ...args], (error, out, errors) =>
      done({ code: typeof error?.code === "number" ? error.code : 0, out, errors }),
    );
  });

let simulator: SimulatorProcess;
let locked: Server;
let lockedUrl: string;

beforeAll(async () => {
  simulator = await startSimulatorProcess(["--context", "4096"]);
  // A hosted API: it lists its models to whoever has the key.
  locked = createServer((request, response) => {
    const open = request.headers.authorization === "Bearer good-key";
    const known = request.url === "/v1/models";
    response.writeHead(!open ? 401 : known ? 200 : 404, { "content-type": "application/json" });
    response.end(JSON.stringify(open && known ? { object: "list", data: [{ id: "house", object: "model" }] } : {}));
  });
  await new Promise<void>((listening) => locked.listen(0, "127.0.0.1", listening));
  lockedUrl = `http://127.0.0.1:${(locked.address() as AddressInfo).port}`;
});

afterAll(async () => {
  await simulator.stop();
  await new Promise((closed) => locked.close(closed));
});

it("tells what an OpenAI-compatible server is and has", async () => {
  const { code, out } = await probe(simulator.httpUrl);
  expect(code).toBe(0);
  expect(out).toMatch(/protocol +openai\n/);
  expect(out).toMatch(/engine +vllm /);
  expect(out).toMatch(/\n {2}weir-sim\n/);
  expect(out).toMatch(/context +4,096 tokens/);
  expect(out).toMatch(/has .*conversation.*\n.*lacks .*suffix/);
});

it("tells what trtllm-serve is and has", async () => {
  await using served = await startSimulatorProcess(["--openai-as", "trtllm"]);
  const { code, out } = await probe(served.httpUrl);
  expect(code).toBe(0);
  expect(out).toMatch(/engine +tensorrt-llm 1\.3/);
  expect(out).toMatch(/load +0 running, 0 waiting/);
  expect(out).toMatch(/interface +trtllm\n/);
  expect(out).toMatch(/lacks .*json schema.*grammar/);
});

it("tells what Triton is and has", async () => {
  const { code, out } = await probe(simulator.grpcUrl);
  expect(code).toBe(0);
  expect(out).toMatch(/protocol +triton\n/);
  expect(out).toMatch(/\n {2}ensemble\n/);
  expect(out).toMatch(/lacks .*conversation/);
  const core = out.slice(out.indexOf("\n  tensorrt_llm\n"));
  expect(core).toMatch(/has .*token ids[^]*?needs +a tokenizer, to be offered: set `tokenizer` of the model/);
});

it("tells what TGIS is and has", async () => {
  const { code, out } = await probe(simulator.tgisUrl);
  expect(code).toBe(0);
  expect(out).toMatch(/protocol +tgis\n/);
  expect(out).toMatch(/\n {2}tgis\n/);
  expect(out).toMatch(/context +4,096 tokens/);
  expect(out).toMatch(/has .*prompt.*logprobs.*\n.*lacks .*conversation/);
});

it("tells what vLLM's own gRPC is and has", async () => {
  const { code, out } = await probe(simulator.vllmUrl);
  expect(code).toBe(0);
  expect(out).toMatch(/protocol +vllm\n/);
  expect(out).toMatch(/engine +vllm 0/);
  expect(out).toMatch(/has .*token ids.*logit bias.*\n.*lacks .*tools.*logprobs/);
});

it("tells what TGI is and has", async () => {
  const { code, out } = await probe(simulator.tgiUrl);
  expect(code).toBe(0);
  expect(out).toMatch(/protocol +tgi\n/);
  expect(out).toMatch(/engine +tgi 3/);
  expect(out).toMatch(/context +4,096 tokens/);
  expect(out).toMatch(/has .*conversation.*tools.*\n.*lacks .*json object/);
});

it("tells what Anthropic's API is and has, to whoever has a key", async () => {
  expect((await probe(simulator.anthropicUrl)).errors).toContain("--engine-key-file FILE");
  const file = join(await openFolder("weir-probe-"), "key");
  await writeFile(file, "good-key\n");
  const { code, out } = await probe(simulator.anthropicUrl, "--engine-key-file", file);
  expect(code).toBe(0);
  expect(out).toMatch(/protocol +anthropic\n/);
  expect(out).toMatch(/\n {2}weir-sim\n/);
  expect(out).toMatch(/has .*conversation.*tools.*\n.*lacks .*prompt.*logprobs/);
});

it("says how to give a credential, and takes it from a file", async () => {
  const without = await probe(lockedUrl);
  expect(without).toMatchObject({ code: 1, out: "" });
  expect(without.errors).toContain("--engine-key-file FILE");
  const file = join(await openFolder("weir-probe-"), "key");
  await writeFile(file, "good-key\n");
  const given = await probe(lockedUrl, "--engine-key-file", file);
  expect(given.code).toBe(0);
  expect(given.out).toMatch(/\n {2}house\n/);
});

it.each([
  ["an address where nothing listens", ["http://127.0.0.1:1"], 1, "nothing answers there"],
  ["no address", [], 64, "write: engines probe URL"],
  ["an address that is none", ["ftp://127.0.0.1"], 64, "scheme ftp is not spoken"],
  ["a key file that is not there", ["http://127.0.0.1:1", "--engine-key-file", "/nowhere"], 64, "ENOENT"],
  ["an empty key file", ["http://127.0.0.1:1", "--engine-key-file", "/dev/null"], 64, "/dev/null is empty"],
])("says what to do about %s", async (_what, args, code, text) => {
  const found = await probe(...args);
  expect(found).toMatchObject({ code, out: "" });
  expect(found.errors).toContain(text);
});
