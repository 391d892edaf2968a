import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Dialect, Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { flavourNamed } from "../../services/drivers/openai/flavours.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { type Simulator, startSimulator } from "../../services/simulator/simulator.ts";
import { targetAt } from "../wire/attempts.ts";

const text = readFileSync(resolve(import.meta.dirname, "../../docs/engines.md"), "utf8");
const table = text.slice(text.indexOf("| engine | chats |"), text.indexOf("\n\n", text.indexOf("| engine | chats |")));
const [head = [], , ...rows] = table.split("\n").map((line) =>
  line
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim()),
);

/** What each column is about; of several features one is enough. */
const columns: Readonly<Record<string, Feature | readonly Feature[]>> = {
  chats: Feature.CONVERSATION,
  prompts: Feature.PROMPT,
  "token ids": Feature.TOKEN_IDS,
  streams: Feature.STREAM,
  tools: Feature.TOOLS,
  "JSON schema": Feature.JSON_SCHEMA,
  "some JSON": Feature.JSON_OBJECT,
  patterns: Feature.PATTERN,
  grammars: Feature.GRAMMAR,
  logprobs: Feature.LOGPROBS,
  n: Feature.CHOICES,
  pictures: Feature.IMAGES,
  embeds: Feature.EMBED,
  ranks: Feature.RERANK,
  "counts tokens": [Feature.COUNT_TOKENS, Feature.COUNT_CONVERSATION],
  stops: Feature.CANCEL,
};

describe("the table of docs/engines.md", () => {
  let simulator: Simulator;
  let ibm: Simulator;
  beforeAll(async () => {
    const port = { port: 0 };
    simulator = await startSimulator({
      openai: port,
      triton: port,
      tgis: port,
      vllm: port,
      tgi: port,
      anthropic: port,
    });
    ibm = await startSimulator({ tgis: { port: 0, ibm: true } });
  });
  afterAll(async () => {
    await simulator[Symbol.asyncDispose]();
    await ibm[Symbol.asyncDispose]();
  });

  async function probed(
    dialect: Dialect,
    url: string,
    engineModel = "",
    httpUrl?: string,
  ): Promise<readonly Feature[]> {
    await using driver = openDriver(dialect, targetAt(url, { engineKey: "good-key", httpUrl }));
    const { models } = await driver.probe(AbortSignal.timeout(10_000));
    return models.find((model) => engineModel === "" || model.engineModel === engineModel)?.features ?? [];
  }

  const triton = (name: string) => () => probed(Dialect.TRITON, simulator.grpcUrl, name);
  const openai = (flavour: string) => async () => flavourNamed(flavour).features;

  const engines: Readonly<Record<string, () => Promise<readonly Feature[]>>> = {
    "Triton, ensemble": triton("ensemble"),
    "Triton, BLS": triton("tensorrt_llm_bls"),
    "Triton, core": triton("tensorrt_llm"),
    "Triton, LLM API": triton("llmapi"),
    "Triton, vLLM backend": triton("vllm_model"),
    "Triton, encoders": triton("text_embedding"),
    "vLLM, HTTP": openai("vllm"),
    "vLLM, gRPC": () => probed(Dialect.VLLM, simulator.vllmUrl),
    "vLLM, gRPC and HTTP": () => probed(Dialect.VLLM, simulator.vllmUrl, "", simulator.httpUrl),
    TGIS: () => probed(Dialect.TGIS, simulator.tgisUrl),
    "TGIS, IBM's": () => probed(Dialect.TGIS, ibm.tgisUrl),
    TGI: () => probed(Dialect.TGI, simulator.tgiUrl),
    "llama.cpp": openai("llamacpp"),
    "trtllm-serve": openai("trtllm"),
    SGLang: openai("sglang"),
    Ollama: openai("ollama"),
    "LM Studio": openai("lmstudio"),
    "OpenAI, Azure": openai("hosted"),
    Anthropic: () => probed(Dialect.ANTHROPIC, simulator.anthropicUrl),
    "others over OpenAI's HTTP": openai("openai"),
  };

  test("has a row for each of them, and a column for each feature", () => {
    expect(rows.map(([name]) => name)).toEqual(Object.keys(engines));
    expect(head.slice(1)).toEqual(Object.keys(columns));
  });

  test.each(rows.map(([name = "", ...cells]) => ({ name, cells })))(
    "says of $name what its driver says",
    async (row) => {
      const features = await engines[row.name]?.();
      const told = head.slice(1).filter((_, at) => row.cells[at] === "●");
      const has = Object.entries(columns).flatMap(([column, feature]) =>
        [feature].flat().some((one) => features?.includes(one)) ? [column] : [],
      );
      expect(told).toEqual(has);
      // What an engine has no grammar for the gateway checks.
      const generates = told.includes("prompts") || told.includes("chats") || told.includes("token ids");
      const checked = head.slice(1).filter((_, at) => row.cells[at] === "c");
      expect(checked).toEqual(
        generates ? ["JSON schema", "some JSON", "patterns"].filter((column) => !told.includes(column)) : [],
      );
      // What the gateway does itself it does from plain text, or from token ids.
      const byGateway = head.slice(1).filter((_, at) => row.cells[at] === "t");
      const takesPlainText = told.includes("prompts") && !told.includes("chats");
      const takesIdsOnly = told.includes("token ids") && !told.includes("prompts");
      expect(byGateway).toEqual(
        takesPlainText ? ["chats", "tools"] : takesIdsOnly ? ["chats", "prompts", "tools"] : [],
      );
    },
  );
});
