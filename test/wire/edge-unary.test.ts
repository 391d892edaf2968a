import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import {
  type EmbedRequest,
  EmbedResponseSchema,
  type RerankRequest,
  RerankResponseSchema,
} from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import type { CallOptions } from "../../services/runtime/mesh/context.ts";
import { type EdgeServer, keys, startEdge } from "../fakes/edge-server.ts";

let edge: EdgeServer;
let embeds: { request: EmbedRequest; options: CallOptions }[];
let reranks: RerankRequest[];
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge[Symbol.asyncDispose]());

const values = (...numbers: number[]) => new Uint8Array(Float32Array.from(numbers).buffer);
const started = { requestId: "r", model: "weir-sim", ignored: ["later"] };

beforeEach(() => {
  embeds = [];
  reranks = [];
  edge.unary = {
    embed: async (request, options) => {
      embeds.push({ request, options });
      const limit = { limit: 100n, remaining: 40n, resetAfter: { seconds: 3n } };
      return create(EmbedResponseSchema, {
        started: { ...started, tokens: limit },
        embeddings: request.inputs.map((_, i) => ({ values: values(i, 0.1) })),
        usage: { promptTokens: 5n },
      });
    },
    rerank: async (request) => {
      reranks.push(request);
      const results = [
        { index: 1, relevanceScore: 0.75 },
        { index: 0, relevanceScore: 0.25 },
      ];
      return create(RerankResponseSchema, { started, results, usage: { promptTokens: 9n } });
    },
  };
});

/** What came, as far as tests look into it. */
interface Body {
  readonly error?: { readonly type: string; readonly param: string | null; readonly code: string };
  readonly data?: readonly { readonly embedding: unknown }[];
  readonly results?: readonly object[];
}

interface Told {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Body;
}

async function post(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Told> {
  const response = await fetch(edge.url + path, {
    method: "POST",
    headers: { authorization: `Bearer ${keys.good}`, "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) };
}

const embed = (more: object, headers = {}) => post("/v1/embeddings", { model: "weir-sim", ...more }, headers);
const rerank = (more: object, path = "/v1/rerank") => post(path, { model: "weir-sim", ...more });

describe("POST /v1/embeddings", () => {
  test("answers with numbers, which are those of single precision", async () => {
    const { status, body, headers } = await embed({ input: ["a", "b"], user: "ann" });
    expect(status).toBe(200);
    expect(body).toEqual({
      object: "list",
      data: [
        { object: "embedding", index: 0, embedding: [0, Math.fround(0.1)] },
        { object: "embedding", index: 1, embedding: [1, Math.fround(0.1)] },
      ],
      model: "weir-sim",
      usage: { prompt_tokens: 5, total_tokens: 5 },
    });
    expect(headers.get("x-ratelimit-limit-tokens")).toBe("100");
    expect(headers.get("x-ratelimit-remaining-tokens")).toBe("40");
    expect(headers.get("x-ratelimit-reset-tokens")).toBe("3s");
    expect(headers.get("x-weir-ignored")).toBe("user, later");
    expect(headers.get("x-request-id")).toMatch(/^[\da-f-]{36}$/);
  });

  test("answers in base64, which is the bytes as they are", async () => {
    const { body } = await embed({ input: "a", encoding_format: "base64" });
    expect(body.data?.[0]?.embedding).toBe(Buffer.from(values(0, 0.1)).toString("base64"));
  });

  test("takes all four forms of input, dimensions and members that engines know", async () => {
    const texts = (request: EmbedRequest | undefined) => request?.inputs.map(({ input }) => input);
    await embed({ input: "a", dimensions: 2, encoding_format: null, truncate_prompt_tokens: 4 });
    await embed({ input: ["a", "b"] });
    await embed({ input: [1, 2] });
    await embed({ input: [[1, 2], [3]] });
    expect(embeds.map(({ request }) => texts(request))).toMatchObject([
      [{ case: "text", value: "a" }],
      [{ value: "a" }, { value: "b" }],
      [{ case: "tokenIds", value: { ids: [1, 2] } }],
      [{ value: { ids: [1, 2] } }, { value: { ids: [3] } }],
    ]);
    expect(embeds[0]?.request).toMatchObject({ dimensions: 2, extrasJson: '{"truncate_prompt_tokens":4}' });
    expect(embeds[1]?.request.dimensions).toBeUndefined();
  });

  test.each<[string, object, string | null, string]>([
    ["no input", {}, "input", "missing_required_parameter"],
    ["null", { input: null }, "input", "missing_required_parameter"],
    ["an empty list", { input: [] }, "input", "array_below_min_length"],
    ["an empty text", { input: "" }, "input", "string_below_min_length"],
    ["an empty text in a list", { input: ["a", ""] }, "input[1]", "string_below_min_length"],
    ["2,049 inputs", { input: Array.from({ length: 2_049 }, () => "a") }, "input", "array_above_max_length"],
    ["a number", { input: 7 }, "input", "invalid_type"],
    ["an object", { input: { text: "a" } }, "input", "invalid_type"],
    ["a list too deep", { input: [[[1]]] }, "input[0]", "invalid_token_id"],
    ["an empty list of ids", { input: [[1], []] }, "input[1]", "array_below_min_length"],
    ["texts and ids", { input: ["a", [1]] }, "input[1]", "invalid_type"],
    ["ids and texts", { input: [[1], "a"] }, "input[1]", "invalid_type"],
    ["ids with a text", { input: [1, "a"] }, "input", "invalid_type"],
    ["a negative id", { input: [-1] }, "input", "invalid_token_id"],
    ["a fraction for an id", { input: [[1.5]] }, "input[0]", "invalid_token_id"],
    ["null in a list", { input: ["a", null] }, "input[1]", "invalid_type"],
    ["another encoding", { input: "a", encoding_format: "hex" }, "encoding_format", "invalid_value"],
    ["an empty encoding", { input: "a", encoding_format: "" }, "encoding_format", "invalid_value"],
    ["no text for an encoding", { input: "a", encoding_format: 1 }, "encoding_format", "invalid_type"],
    ["dimensions of 0", { input: "a", dimensions: 0 }, "dimensions", "integer_below_min_value"],
    ["dimensions beyond reason", { input: "a", dimensions: 1e9 }, "dimensions", "integer_above_max_value"],
    ["a fraction of dimensions", { input: "a", dimensions: 1.5 }, "dimensions", "invalid_type"],
    ["dimensions as text", { input: "a", dimensions: "8" }, "dimensions", "invalid_type"],
    ["a user that is none", { input: "a", user: 3 }, "user", "invalid_type"],
    ["no model", { input: "a", model: null }, "model", "missing_required_parameter"],
    ["a model that is a path", { input: "a", model: "../x" }, "model", "invalid_value"],
  ])("refuses %s", async (_what, body, param, code) => {
    const told = await embed(body);
    expect({ status: told.status, ...told.body.error }).toMatchObject({
      status: 400,
      type: "invalid_request_error",
      param,
      code,
    });
    expect(embeds).toEqual([]);
  });

  test("refuses NaN, which is no JSON, and other methods", async () => {
    expect((await post("/v1/embeddings", '{"model":"weir-sim","input":"a","dimensions":NaN}')).status).toBe(400);
    expect((await fetch(`${edge.url}/v1/embeddings`)).status).toBe(405);
  });

  test("tells what the router says, with when to come back", async () => {
    edge.unary = { embed: () => Promise.reject(fail(ErrorReason.QUEUE_FULL, { model: "m" }, { retryAfterMs: 1_500 })) };
    const { status, body, headers } = await embed({ input: "a" });
    expect({ status, code: body.error?.code, after: headers.get("retry-after-ms") }).toEqual({
      status: 503,
      code: "server_overloaded",
      after: "1500",
    });
  });

  test("stops when its caller leaves", async () => {
    const caller = new AbortController();
    const left = new Promise<unknown>((resolve) => {
      edge.unary = {
        embed: (_request, { signal }) =>
          new Promise((_resolve, reject) => {
            signal?.addEventListener("abort", () => {
              resolve(signal.reason);
              reject(signal.reason as Error);
            });
            caller.abort();
          }),
      };
    });
    const asked = fetch(`${edge.url}/v1/embeddings`, {
      method: "POST",
      headers: { authorization: `Bearer ${keys.good}`, "content-type": "application/json" },
      body: JSON.stringify({ model: "weir-sim", input: "a" }),
      signal: caller.signal,
    });
    await expect(asked).rejects.toThrow();
    expect(await left).toMatchObject({ reason: ErrorReason.CANCELLED });
  });

  test("bounds its time by x-weir-timeout-ms", async () => {
    await embed({ input: "a" }, { "x-weir-timeout-ms": "1234" });
    expect(embeds[0]?.options.timeoutMs).toBe(1_234);
  });

  test("writes a large answer whole", async () => {
    const vector = values(...Array.from({ length: 4_096 }, (_, i) => i / 7));
    edge.unary = {
      embed: async ({ inputs }) => create(EmbedResponseSchema, { embeddings: inputs.map(() => ({ values: vector })) }),
    };
    const { body } = await embed({ input: Array.from({ length: 64 }, (_, i) => `text ${i}`) });
    expect(body.data).toHaveLength(64);
    expect(body.data?.[63]?.embedding).toEqual([...new Float32Array(vector.buffer)]);
  });
});

describe("POST /v1/rerank", () => {
  test("answers with the order, and with the documents unless it is told not to", async () => {
    const { status, body } = await rerank({ query: "q", documents: ["a", { text: "b" }], top_n: 2 });
    expect(status).toBe(200);
    expect(body).toEqual({
      id: expect.stringMatching(/^rerank-[\da-f]{32}$/),
      model: "weir-sim",
      results: [
        { index: 1, relevance_score: 0.75, document: { text: "b" } },
        { index: 0, relevance_score: 0.25, document: { text: "a" } },
      ],
      usage: { prompt_tokens: 9, total_tokens: 9 },
    });
    expect(reranks[0]).toMatchObject({ query: "q", documents: ["a", "b"], topN: 2 });
    const bare = await rerank({ query: "q", documents: ["a", "b"], return_documents: false });
    expect(bare.body.results?.[0]).toEqual({ index: 1, relevance_score: 0.75 });
    expect((await rerank({ query: "q", documents: ["a", "b"] }, "/v2/rerank")).body.results?.[0]).not.toHaveProperty(
      "document",
    );
    expect((await rerank({ query: "q", documents: ["a", "b"] }, "/rerank")).status).toBe(200);
  });

  test.each<[string, object, string, string]>([
    ["no query", { documents: ["a"] }, "query", "missing_required_parameter"],
    ["an empty query", { query: "", documents: ["a"] }, "query", "string_below_min_length"],
    ["a query that is none", { query: ["q"], documents: ["a"] }, "query", "invalid_type"],
    ["no documents", { query: "q" }, "documents", "missing_required_parameter"],
    ["an empty list", { query: "q", documents: [] }, "documents", "array_below_min_length"],
    ["too many", { query: "q", documents: Array(2_049).fill("a") }, "documents", "array_above_max_length"],
    ["a number", { query: "q", documents: ["a", 3] }, "documents[1]", "invalid_type"],
    [
      "an object without a text",
      { query: "q", documents: [{ title: "x" }] },
      "documents[0].text",
      "missing_required_parameter",
    ],
    ["top_n of 0", { query: "q", documents: ["a"], top_n: 0 }, "top_n", "integer_below_min_value"],
    ["a fraction of top_n", { query: "q", documents: ["a"], top_n: 1.5 }, "top_n", "invalid_type"],
    [
      "return_documents as text",
      { query: "q", documents: ["a"], return_documents: "no" },
      "return_documents",
      "invalid_type",
    ],
  ])("refuses %s", async (_what, body, param, code) => {
    const told = await rerank(body);
    expect({ status: told.status, ...told.body.error }).toMatchObject({ status: 400, param, code });
  });
});
