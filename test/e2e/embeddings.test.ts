import { create, fromJson, type JsonValue, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CreateKeyResponseSchema } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import {
  CalendarPeriod,
  Dimension,
  type LimitSpecSchema,
  type LimitStatus,
  Operation,
  SubjectKind,
} from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import {
  CreateLimitRequestSchema,
  CreateLimitResponseSchema,
  GetLimitStatusResponseSchema,
} from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import { CountSource } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { EndReason } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { type Installation, startInstallation } from "../fakes/installation.ts";
import { settledLedger } from "../fakes/ledger.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";

describe("embeddings through the whole gateway", () => {
  let engine: SimulatorProcess;
  let weir: Installation;
  let client: OpenAI;
  /** Requests of the first key that have a record. */
  let admitted = 0;

  beforeAll(async () => {
    engine = await startSimulatorProcess(["--decode-ms", "0", "--prefill-ms", "0"]);
    weir = await startInstallation("two processes", {
      yaml: [
        "pools:",
        `  - { id: quick, replicas: [{ url: "${engine.httpUrl}" }] }`,
        "models:",
        "  - { id: vectors, pool: quick, engine_model: weir-sim }",
      ].join("\n"),
    });
    client = clientOf(weir.key);
  }, 120_000);

  afterAll(async () => {
    await weir?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
  });

  const clientOf = (apiKey: string) => new OpenAI({ baseURL: `${weir.gateway.url}/v1`, apiKey, maxRetries: 0 });
  const rpcOf = async (url: string, method: string, body: JsonValue): Promise<JsonValue> => {
    const response = await fetch(`${url}/${method}`, {
      method: "POST",
      headers: { authorization: `Bearer ${weir.key}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(text);
    return JSON.parse(text);
  };
  const rpc = (method: string, body: JsonValue) => rpcOf(weir.control.url, method, body);
  const hourly = { case: "rate" as const, value: { per: { seconds: 3_600n } } };

  /** A key of its own, with a limit. */
  async function limited(spec: Omit<MessageInitShape<typeof LimitSpecSchema>, "name" | "subject" | "$typeName">) {
    const made = await rpc("weir.auth.v1.KeyService/CreateKey", { requestId: crypto.randomUUID(), name: "limited" });
    const { key, secret } = fromJson(CreateKeyResponseSchema, made);
    const keyId = key?.id ?? "";
    const request = create(CreateLimitRequestSchema, {
      requestId: crypto.randomUUID(),
      spec: { name: "a limit", subject: { kind: SubjectKind.KEY, id: keyId }, ...spec } as MessageInitShape<
        typeof LimitSpecSchema
      >,
    });
    const answer = await rpc("weir.quota.v1.LimitService/CreateLimit", toJson(CreateLimitRequestSchema, request));
    return { secret, keyId, limitId: fromJson(CreateLimitResponseSchema, answer).limit?.id ?? "" };
  }

  async function statusOf({ keyId, limitId }: { keyId: string; limitId: string }): Promise<LimitStatus | undefined> {
    const told = await rpc("weir.quota.v1.LimitService/GetLimitStatus", { keyId });
    return fromJson(GetLimitStatusResponseSchema, told).limits.find(({ limit }) => limit?.id === limitId);
  }

  test("the official client gets the same vectors as base64, which it asks for by itself, and as numbers", async () => {
    const input = ["the river", "a dam", "the river"];
    const encoded = await client.embeddings.create({ model: "vectors", input });
    const plain = await client.embeddings.create({ model: "vectors", input, encoding_format: "float" });
    expect(plain.data.map(({ index }) => index)).toEqual([0, 1, 2]);
    for (const [at, { embedding }] of plain.data.entries()) {
      expect(embedding).toHaveLength(64);
      expect([...(encoded.data[at]?.embedding ?? [])]).toEqual(embedding);
    }
    expect(plain.data[0]?.embedding).toEqual(plain.data[2]?.embedding);
    expect(plain.data[0]?.embedding).not.toEqual(plain.data[1]?.embedding);
    expect(plain.usage).toEqual({ prompt_tokens: 8, total_tokens: 8 });
    expect(plain.model).toBe("vectors");
    admitted += 2;
  });

  test("and vectors of another length, and of token ids", async () => {
    const { data, usage } = await client.embeddings.create({
      model: "vectors",
      input: [[1, 2, 3], [4]],
      dimensions: 8,
    });
    expect(data.map(({ embedding }) => embedding.length)).toEqual([8, 8]);
    expect(usage.prompt_tokens).toBe(4);
    admitted += 1;
  });

  test("what is wrong is an error of the client's, with its reason", async () => {
    const ask = (input: string, more = {}) => client.embeddings.create({ model: "vectors", input, ...more });
    await expect(client.embeddings.create({ model: "none", input: "x" })).rejects.toMatchObject({ status: 404 });
    await expect(ask("")).rejects.toMatchObject({ status: 400, param: "input" });
    await expect(ask("x", { dimensions: 5_000 })).rejects.toMatchObject({ status: 400, code: "upstream_refused" });
    await expect(ask("[[sim nan]]")).rejects.toMatchObject({ status: 502, code: "upstream_protocol_error" });
    await expect(ask("[[sim wrong_dims]]", { dimensions: 4 })).rejects.toMatchObject({ status: 502 });
    await expect(ask("[[sim cut]]")).rejects.toMatchObject({ status: 502, code: "upstream_unavailable" });
    admitted += 4;
  });

  test("documents are ranked, and prompts are counted", async () => {
    const response = await fetch(`${weir.gateway.url}/v1/rerank`, {
      method: "POST",
      headers: { authorization: `Bearer ${weir.key}`, "content-type": "application/json" },
      body: JSON.stringify({ model: "vectors", query: "river dam", documents: ["sea", "a dam in a river"], top_n: 1 }),
    });
    expect(await response.json()).toMatchObject({
      results: [{ index: 1, relevance_score: 1, document: { text: "a dam in a river" } }],
    });
    const counted = await rpcOf(weir.gateway.url, "weir.router.v1.InferenceService/CountTokens", {
      model: "vectors",
      conversation: { messages: [{ role: "ROLE_USER", parts: [{ text: "hello" }] }] },
    });
    expect(counted).toMatchObject({ tokens: "3" });
    admitted += 2;
  });

  test("the ledger has one record for each that was admitted, with the engine's counts", async () => {
    const records = [...(await settledLedger(weir.control.url, weir.key, admitted)).values()];
    const told = (operation: string) =>
      records
        .filter((record) => record.operation === operation)
        .map(({ tokens, endReason, attempts }) => [
          endReason,
          Number(tokens?.promptTokens),
          Number(tokens?.completionTokens),
          tokens?.promptSource,
          attempts.length,
        ])
        .toSorted((a, b) => Number(a[0]) - Number(b[0]) || Number(a[1]) - Number(b[1]));
    const { COMPLETED, FAILED } = EndReason;
    expect(told("embed")).toEqual([
      [COMPLETED, 4, 0, CountSource.ENGINE, 1],
      [COMPLETED, 8, 0, CountSource.ENGINE, 1],
      [COMPLETED, 8, 0, CountSource.ENGINE, 1],
      ...Array.from({ length: 4 }, () => [FAILED, 0, 0, CountSource.COUNTED, 1]),
    ]);
    expect(told("rerank")).toEqual([[COMPLETED, 11, 0, CountSource.ENGINE, 1]]);
    expect(told("count_tokens")).toEqual([[COMPLETED, 0, 0, CountSource.COUNTED, 1]]);
  });

  test("as many as one request may have, of as many dimensions as models have, pass between two processes", async () => {
    const input = Array.from({ length: 2_048 }, (_, index) => `text ${index}`);
    const { data, usage } = await client.embeddings.create({ model: "vectors", input, dimensions: 4_096 });
    expect(data.map(({ index }) => index)).toEqual(input.map((_, index) => index));
    expect(data.every(({ embedding }) => embedding.length === 4_096)).toBe(true);
    expect(usage.prompt_tokens).toBeGreaterThan(2_048);
    const [last] = (await client.embeddings.create({ model: "vectors", input: "text 2047", dimensions: 4_096 })).data;
    expect([...(data.at(-1)?.embedding ?? [])]).toEqual([...(last?.embedding ?? [])]);
    admitted += 2;
  });

  test("40 at once against a limit of 25: exactly 25 are admitted, and chat is not counted", async () => {
    const mine = await limited({
      operations: [Operation.EMBED],
      dimension: Dimension.REQUESTS,
      ceiling: { case: "count", value: 25n },
      window: hourly,
    });
    const own = clientOf(mine.secret);
    const all = await Promise.all(
      Array.from({ length: 40 }, () =>
        own.embeddings.create({ model: "vectors", input: "x" }).then(
          () => 200,
          (error: unknown) => {
            if (!(error instanceof OpenAI.APIError)) throw error;
            expect(error.headers?.get("x-ratelimit-limit-requests")).toBe("25");
            return Number(error.status);
          },
        ),
      ),
    );
    expect(all.filter((status) => status === 200)).toHaveLength(25);
    expect(all.filter((status) => status === 429)).toHaveLength(15);
    await expect.poll(async () => (await statusOf(mine))?.used, { timeout: 10_000 }).toBe(25n);
    await own.chat.completions.create({ model: "vectors", messages: [{ role: "user", content: "hi" }], max_tokens: 1 });
    expect((await statusOf(mine))?.used).toBe(25n);
    admitted += 26;
  });

  test("a limit on tokens is settled with what the engine counted, to the token", async () => {
    const mine = await limited({
      dimension: Dimension.INPUT_TOKENS,
      ceiling: { case: "count", value: 1_000n },
      // Nothing of it comes back while the test looks.
      window: { case: "budget", value: { period: CalendarPeriod.MONTH } },
    });
    const own = clientOf(mine.secret);
    const { response } = await own.embeddings
      .create({ model: "vectors", input: ["a".repeat(16), "b".repeat(15)] })
      .withResponse();
    expect(response.headers.get("x-ratelimit-limit-tokens")).toBe("1000");
    await own.embeddings.create({ model: "vectors", input: [[1, 2, 3]] });
    await expect(own.embeddings.create({ model: "vectors", input: "[[sim error]]" })).rejects.toMatchObject({
      status: 502,
    });
    await expect.poll(async () => (await statusOf(mine))?.used, { timeout: 10_000 }).toBe(8n + 3n);
    const never = own.embeddings.create({ model: "vectors", input: [Array.from({ length: 1_001 }, () => 7)] });
    await expect(never).rejects.toMatchObject({ status: 429 });
    admitted += 3;
    await settledLedger(weir.control.url, weir.key, admitted);
  });
});
