import { type AddressInfo, createServer } from "node:net";
import { afterAll, describe, expect, test } from "vitest";
import { Dialect, Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ToolChoiceMode } from "../../gen/ts/weir/router/v1/message_pb.ts";
import { detectDialect, openDriver } from "../../services/drivers/registry.ts";
import { engineUrl } from "../../services/runtime/config/engine-url.ts";
import { startFakeOpenAi } from "../fakes/fake-openai.ts";
import { attemptAt, run, targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

describe("what answers at an address", () => {
  test("nothing: unavailable", async () => {
    const found = detectDialect(targetAt("http://127.0.0.1:1"), AbortSignal.timeout(5_000));
    await expect(found).rejects.toMatchObject({ facts: {}, message: expect.stringContaining("could not be reached") });
  });

  test("something else: a protocol error", async () => {
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => socket.end("220 mail.example ESMTP\r\n"));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanup.defer(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const found = detectDialect(targetAt(`http://127.0.0.1:${port}`), AbortSignal.timeout(5_000));
    await expect(found).rejects.toThrow("neither");
  });

  test("an address without a scheme is asked over HTTP, too, below its path", async () => {
    const server = cleanup.use(await startFakeOpenAi({ routes: { "/team/v1/models": card("us") } }));
    const given = `${server.url.replace("http://", "")}/team/v1/`;
    const found = engineUrl(given, { allowPrivate: false });
    const target = targetAt("url" in found ? found.url : found.problem);
    expect(await detectDialect(target, AbortSignal.timeout(5_000))).toBe(Dialect.OPENAI);
    const driver = cleanup.use(openDriver(Dialect.OPENAI, target));
    expect((await driver.probe(AbortSignal.timeout(5_000))).models).toMatchObject([{ engineModel: "m" }]);
  });

  const card = (owner: string) => ({ data: [{ id: "m", owned_by: owner, max_model_len: 4096 }] });

  test.each<[string, Record<string, unknown>, string, string]>([
    ["vLLM", { "/v1/models": card("vllm"), "/version": { version: "0.32.0" }, "/health": "" }, "vllm", "vllm 0.32.0"],
    [
      "SGLang",
      { "/v1/models": card("sglang"), "/get_model_info": { model_path: "m" }, "/health": "" },
      "sglang",
      "sglang",
    ],
    ["Ollama", { "/v1/models": card("library"), "/api/version": { version: "0.9" } }, "ollama", "ollama 0.9"],
    [
      "vLLM with an owner of its own",
      { "/v1/models": card("us"), "/version": { version: "0.32.0" }, "/health": "" },
      "vllm",
      "vllm 0.32.0",
    ],
    [
      "trtllm-serve",
      { "/v1/models": card("tensorrt_llm"), "/version": { version: "1.3.0" }, "/health": "" },
      "trtllm",
      "tensorrt-llm 1.3.0",
    ],
    ["anything else", { "/v1/models": card("us") }, "openai", ""],
  ])("%s is known by asking", async (_, routes, flavour, engine) => {
    const server = cleanup.use(await startFakeOpenAi({ routes }));
    const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
    const probe = await driver.probe(AbortSignal.timeout(5_000));
    expect(probe.engine).toBe(engine);
    expect(probe.models[0]).toMatchObject({ engineModel: "m", flavour, ready: true, contextLength: 4096n });
  });

  test("a version alone is not vLLM's", async () => {
    const routes = { "/v1/models": { data: [{ id: "m", owned_by: "us" }] }, "/version": { version: "1.3.0" } };
    const server = cleanup.use(await startFakeOpenAi({ routes }));
    const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
    const { engine, models } = await driver.probe(AbortSignal.timeout(5_000));
    expect([engine, models[0]?.flavour]).toEqual(["", "openai"]);
  });

  test("trtllm-serve's load is at a path of its own, and the other is left alone", async () => {
    const gauges = ["num_requests_running 3", "num_requests_waiting 7", "kv_cache_utilization 0.25"];
    const metrics = gauges.map((gauge) => `trtllm_${gauge}\n`).join("");
    const cards = { data: [{ id: "m", owned_by: "tensorrt_llm" }] };
    const routes = { "/v1/models": cards, "/version": { version: "1.3.0" }, "/prometheus/metrics": metrics };
    const server = cleanup.use(await startFakeOpenAi({ routes }));
    const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
    const { load } = await driver.probe(AbortSignal.timeout(5_000));
    expect(load).toMatchObject({ running: 3, waiting: 7, kvUsed: 0.25 });
    // What /metrics tells is gone from its queue then.
    expect(server.asked).not.toContain("/metrics");
  });

  test.each([ToolChoiceMode.REQUIRED, ToolChoiceMode.FUNCTION])(
    "Ollama, which leaves a choice of functions out, gets none (%i)",
    async (mode) => {
      const routes = { "/v1/models": card("library"), "/api/version": { version: "0.9" } };
      const server = cleanup.use(await startFakeOpenAi({ routes }));
      const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
      const [model] = (await driver.probe(AbortSignal.timeout(5_000))).models;
      if (!model) throw new Error("the fake has no model");
      const outcome = await run(
        driver,
        attemptAt(model, { tools: [{ name: "f" }], toolChoice: { mode, names: ["f"] } }),
      );
      expect([outcome.reason, outcome.failure?.facts["param"]]).toEqual(["UNSUPPORTED", "tool_choice"]);
    },
  );

  test("LM Studio says of each of its models what it is", async () => {
    const listed = (id: string, type: string, loaded?: number) => ({
      id,
      object: "model",
      type,
      compatibility_type: "gguf",
      state: loaded ? "loaded" : "not-loaded",
      max_context_length: 32_768,
      ...(loaded ? { loaded_context_length: loaded } : {}),
    });
    const kinds = ["llm", "vlm", "embeddings"];
    const routes = {
      "/v1/models": { data: kinds.map((id) => ({ id, owned_by: "organization_owner" })) },
      "/api/v0/models": {
        object: "list",
        data: kinds.map((kind) => listed(kind, kind, kind === "llm" ? 4_096 : undefined)),
      },
    };
    const server = cleanup.use(await startFakeOpenAi({ routes }));
    const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
    const { engine, models } = await driver.probe(AbortSignal.timeout(5_000));
    expect(engine).toBe("lm studio");
    expect(models.map(({ contextLength }) => contextLength)).toEqual([4_096n, 32_768n, 32_768n]);
    const [text, pictures, vectors] = models.map(({ features }) => new Set(features));
    expect([text?.has(Feature.TOOLS), text?.has(Feature.IMAGES), text?.has(Feature.EMBED)]).toEqual([
      true,
      false,
      false,
    ]);
    expect([pictures?.has(Feature.IMAGES), pictures?.has(Feature.TOOL_CHOICE)]).toEqual([true, false]);
    expect([...(vectors ?? [])]).toEqual([Feature.EMBED]);
  });

  test("vLLM's load is read from its metrics", async () => {
    const metrics = [
      "# TYPE vllm:num_requests_running gauge",
      'vllm:num_requests_running{engine="0",model_name="m"} 3.0',
      'vllm:num_requests_running{engine="1",model_name="m"} 2.0',
      'vllm:num_requests_waiting{engine="0",model_name="m"} 7.0',
      'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0',
      'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25',
    ].join("\n");
    const routes = { "/v1/models": card("vllm"), "/version": { version: "1" }, "/health": "", "/metrics": metrics };
    const server = cleanup.use(await startFakeOpenAi({ routes }));
    const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
    expect((await driver.probe(AbortSignal.timeout(5_000))).load).toMatchObject({
      running: 5,
      waiting: 7,
      kvUsed: 0.25,
    });
  });

  test.each<[string, bigint]>([
    ["4096.5", 4096n],
    ["1e400", 0n],
    ["1e20", 0n],
    ["-1", 0n],
  ])("a context of %s tokens is told as %s", async (length, expected) => {
    const models = `{"data":[{"id":"m","owned_by":"us","max_model_len":${length}}]}`;
    const server = cleanup.use(await startFakeOpenAi({ routes: { "/v1/models": models } }));
    const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
    expect((await driver.probe(AbortSignal.timeout(5_000))).models[0]?.contextLength).toBe(expected);
  });

  test("a load that nobody can have is bounded", async () => {
    const gauges = ["num_requests_running 1e300", "num_requests_waiting 1e300", "kv_cache_usage_perc 7"];
    const metrics = gauges.map((line) => `vllm:${line}\n`.repeat(200_000 / gauges.length)).join("");
    const routes = { "/v1/models": card("vllm"), "/version": { version: "1" }, "/health": "", "/metrics": metrics };
    const server = cleanup.use(await startFakeOpenAi({ routes }));
    const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
    const most = 2 ** 31 - 1;
    const { load } = await driver.probe(AbortSignal.timeout(5_000));
    expect(load).toMatchObject({ running: most, waiting: most, kvUsed: 1 });
  });

  test("a server that says it is not well is not ready", async () => {
    const routes = {
      "/v1/models": card("vllm"),
      "/version": { version: "1" },
      "/health": (response: { writeHead(code: number): { end(): void } }) => response.writeHead(503).end(),
    };
    const server = cleanup.use(await startFakeOpenAi({ routes }));
    const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
    expect((await driver.probe(AbortSignal.timeout(5_000))).models[0]?.ready).toBe(false);
  });

  test.each<[string, Record<string, unknown>, boolean]>([
    ["is paused", { "/is_paused": { is_paused: true } }, false],
    ["is asleep", { "/is_paused": { is_paused: true }, "/is_sleeping": { is_sleeping: true } }, false],
    ["is asleep and knows no pauses", { "/is_sleeping": { is_sleeping: true } }, false],
    ["is neither", { "/is_paused": { is_paused: false }, "/is_sleeping": { is_sleeping: false } }, true],
    ["knows neither", {}, true],
    ["can't say", { "/is_paused": { error: "Failed to fetch pause status: ..." }, "/is_sleeping": "[]" }, true],
  ])("vLLM that %s, with load 0: ready as it is", async (_, more, ready) => {
    const routes = { "/v1/models": card("vllm"), "/version": { version: "1" }, "/health": "", ...more };
    const server = cleanup.use(await startFakeOpenAi({ routes }));
    const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
    expect((await driver.probe(AbortSignal.timeout(5_000))).models[0]?.ready).toBe(ready);
  });
});
