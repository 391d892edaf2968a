import { execFile } from "node:child_process";
import { appendFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startWeirProcess, type WeirProcess } from "../fakes/weir-process.ts";
import { requireEngines } from "./availability.ts";
import { startTriton, type TritonServer } from "./triton/server.ts";

const gate = await requireEngines("triton");
const main = resolve(import.meta.dirname, "../../services/main.ts");

const patience = { timeout: 20_000 };

/** The command as a person runs it. */
const engines = (...args: string[]): Promise<{ code: number; out: string; errors: string }> =>
  new Promise((done) => {
    execFile(process.execPath, [main, "engines", ...args], (error, out, errors) =>
      done({ code: typeof error?.code === "number" ? error.code : 0, out, errors }),
    );
  });

describe.skipIf(gate.skip)(gate.title("an operator has a real Triton load and unload models"), () => {
  let triton: TritonServer;
  let weir: WeirProcess;
  let url: string;
  let replicaId: string;

  beforeAll(async () => {
    triton = await startTriton({ models: ["vllm_model"] });
    url = `grpc://${triton.grpcAddress}`;
    weir = await startWeirProcess({ args: ["--engine", url] });
    const { body } = await call("PoolService/ListReplicas", {});
    replicaId = body.replicas[0].id;
  }, 120_000);
  afterAll(async () => {
    await weir?.[Symbol.asyncDispose]();
    await triton?.[Symbol.asyncDispose]();
  });

  async function call(method: string, request: object) {
    const response = await post(`/weir.catalog.v1.${method}`, request);
    return { status: response.status, body: JSON.parse(await response.text()) };
  }

  const post = (path: string, body: object, signal?: AbortSignal) =>
    fetch(`${weir.url}${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${weir.key}`, "content-type": "application/json" },
      body: JSON.stringify(body),
      ...(signal ? { signal } : {}),
    });

  const order = (what: "Load" | "Unload", engineModel: string) =>
    call(`EngineService/${what}EngineModel`, { replicaId, engineModel });

  async function complete(model: string, prompt: string): Promise<string> {
    const response = await post("/v1/completions", { model, prompt, max_tokens: 8 });
    const answer = JSON.parse(await response.text());
    return response.status === 200 ? answer.choices[0].text : answer.error.code;
  }

  test("a model is served as soon as it is loaded, and no more when it is unloaded", async () => {
    const { body } = await call("EngineService/ListEngineModels", { replicaId });
    expect(body.models).toEqual(
      expect.arrayContaining([
        { name: "llmapi", state: "ENGINE_MODEL_STATE_UNLOADED" },
        { name: "vllm_model", version: "1", state: "ENGINE_MODEL_STATE_READY" },
      ]),
    );
    expect(await complete("llmapi", "hi")).toBe("model_not_found");
    expect(await order("Load", "llmapi")).toMatchObject({ status: 200, body: {} });
    await expect.poll(() => complete("llmapi", "[[say:amber]]"), patience).toBe("amber");
    expect(await order("Load", "llmapi")).toMatchObject({ status: 200 });
    expect(await order("Unload", "llmapi")).toMatchObject({ body: { state: "ENGINE_MODEL_STATE_UNLOADED" } });
    await expect.poll(() => complete("llmapi", "[[say:amber]]"), patience).not.toBe("amber");
    expect(await order("Unload", "llmapi")).toMatchObject({ body: { state: "ENGINE_MODEL_STATE_UNLOADED" } });
  }, 60_000);

  test("a model whose process died, ready as ever, is mended by unloading and loading", async () => {
    const leaving = new AbortController();
    const dying = post("/v1/completions", { model: "vllm_model", prompt: "[[crash]]" }, leaving.signal);
    const state = async () => {
      const { body } = await call("EngineService/ListEngineModels", { replicaId });
      return body.models.find(({ name }: { name: string }) => name === "vllm_model").state;
    };
    await expect.poll(() => complete("vllm_model", "[[say:amber]]"), patience).toBe("upstream_unavailable");
    expect(await state()).toBe("ENGINE_MODEL_STATE_READY");
    expect(await order("Load", "vllm_model")).toMatchObject({ status: 200 });
    expect(await complete("vllm_model", "[[say:amber]]")).toBe("upstream_unavailable");
    // The request that killed it never ends.
    expect(await order("Unload", "vllm_model")).toMatchObject({ body: { state: "ENGINE_MODEL_STATE_UNLOADING" } });
    expect(await order("Load", "vllm_model")).toMatchObject({ status: 200 });
    await expect.poll(() => complete("vllm_model", "[[say:amber]]"), patience).toBe("amber");
    leaving.abort();
    await dying.catch(() => undefined);
  }, 90_000);

  test("what is not there is not found, and what does not load says why", async () => {
    for (const what of ["Load", "Unload"] as const) expect(await order(what, "nobody")).toMatchObject({ status: 404 });
    const replica = await call("EngineService/ListEngineModels", { replicaId: "nobody" });
    expect(replica).toMatchObject({ status: 404, body: { code: "not_found" } });
    await appendFile(join(triton.modelRepository, "tensorrt_llm_bls", "config.pbtxt"), "nonsense: 1\n");
    const broken = await order("Load", "tensorrt_llm_bls");
    expect(broken).toMatchObject({ status: 503, body: { message: expect.stringContaining("failed to load") } });
    expect((await call("EngineService/LoadEngineModel", { replicaId })).status).toBe(400);
  });

  test("the same on the command line, without a gateway", async () => {
    const listed = await engines("models", url);
    expect(listed).toMatchObject({ code: 0, errors: "" });
    expect(listed.out).toMatch(/\n {2}unloaded +llmapi/);
    expect(listed.out).toMatch(/\n {2}ready +vllm_model, version 1\n/);
    expect((await engines("load", url, "llmapi")).out).toContain("llmapi: loaded");
    expect((await engines("models", url)).out).toMatch(/\n {2}ready +llmapi, version 1\n/);
    expect((await engines("unload", url, "llmapi")).out).toContain("llmapi: unloaded");
    const missing = await engines("load", url, "nobody");
    expect(missing).toMatchObject({ code: 1, out: "" });
    expect(missing.errors).toContain("No model of the engine `nobody`");
    expect((await engines("load", url)).errors).toContain("write: engines load URL MODEL");
  }, 60_000);

  test("a Triton that takes no orders says what would change that", async () => {
    await using closed = await startTriton({ models: [], flags: ["--model-control-mode=none"] });
    const { code, errors } = await engines("unload", `grpc://${closed.grpcAddress}`, "vllm_model");
    expect(code).toBe(1);
    expect(errors).toContain("--model-control-mode=explicit");
  }, 60_000);
});
