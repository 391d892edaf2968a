import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Dialect, ReplicaModelSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Driver } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { type FakeExchange, type FakeOpenAi, startFakeOpenAi } from "../fakes/fake-openai.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import { targetAt } from "./attempts.ts";
import { calm, countAttempt, embedAttempt, failureOf, numbersOf, rerankAttempt } from "./unary-calls.ts";

let server: FakeOpenAi;
let driver: Driver;
let answers: (exchange: FakeExchange) => void;
const clock = new SimulatedClock();

beforeEach(async () => {
  server = await startFakeOpenAi({ generate: (exchange) => answers(exchange) });
  driver = openDriver(Dialect.OPENAI, targetAt(server.url, { engineKey: "sk-secret-key", receiveBytesMax: 100_000 }));
});
afterEach(async () => {
  await driver[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

/** Answers with this JSON, or this text. */
function says(body: unknown, status = 200): void {
  answers = ({ response }) =>
    void response
      .writeHead(status, { "content-type": "application/json" })
      .end(typeof body === "string" ? body : JSON.stringify(body));
}

const data = (...embeddings: unknown[]) => ({ data: embeddings.map((embedding, index) => ({ index, embedding })) });
const base64 = (...values: number[]) => Buffer.from(Float32Array.from(values).buffer).toString("base64");
const named = (flavour: string) => create(ReplicaModelSchema, { engineModel: "fake", flavour });

describe("embeddings over HTTP", () => {
  test("are sent in one request, and read as numbers or base64, in the order of their indices", async () => {
    says({
      data: [
        { index: 1, embedding: base64(3, 4) },
        { index: 0, embedding: [1, 2] },
      ],
      usage: { prompt_tokens: 5, total_tokens: 5 },
    });
    const { vectors, tokens } = (await driver.embed?.(embedAttempt(["a", "b"], { dimensions: 2 }), calm)) ?? {
      vectors: [],
    };
    expect(vectors.map(numbersOf)).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(tokens).toBe(5);
    const [request] = server.requests;
    expect(request).toMatchObject({
      path: "/v1/embeddings",
      body: { model: "fake", input: ["a", "b"], dimensions: 2, encoding_format: "base64" },
      headers: { authorization: "Bearer sk-secret-key" },
    });
    expect(request?.headers["x-request-id"]).toMatch(/^[\da-f-]{36}$/);
  });

  test("are whole however their bytes are cut", async () => {
    answers = ({ response }) => {
      response.writeHead(200, { "content-type": "application/json" }).socket?.setNoDelay(true);
      for (const byte of Buffer.from(JSON.stringify(data([1, 2])))) response.write(Buffer.of(byte));
      response.end();
    };
    const { vectors = [] } = (await driver.embed?.(embedAttempt(["a"]), calm)) ?? {};
    expect(vectors.map(numbersOf)).toEqual([[1, 2]]);
  });

  test("of token ids are sent as such, and without what was not asked for", async () => {
    says(data([1], [2]));
    const { tokens } = (await driver.embed?.(embedAttempt([[1, 2], [3]]), calm)) ?? {};
    expect(tokens).toBeUndefined();
    expect(server.requests[0]?.body).toEqual({ model: "fake", input: [[1, 2], [3]], encoding_format: "base64" });
  });

  test.each<[string, unknown, string]>([
    ["fewer than asked for", data([1, 2]), "1 embeddings, and 2 were asked for"],
    ["more than asked for", data([1], [2], [3]), "3 embeddings, and 2 were asked for"],
    ["of different lengths", data([1, 2], [1]), "1 dimensions where 2 are right"],
    ["empty ones", data([], []), "0 dimensions"],
    ["NaN in base64", data(base64(1, Number.NaN), base64(1, 2)), "not finite"],
    ["infinity in base64", data(base64(1, 2), base64(1, Number.NEGATIVE_INFINITY)), "not finite"],
    ["a number beyond single precision", data([1, 1e300], [1, 2]), "not finite"],
    ["null for a number", data([1, null], [1, 2]), "no numbers"],
    ["NaN as JSON's no one knows it", '{"data":[{"index":0,"embedding":[NaN]}]}', "not JSON"],
    ["no base64", data("!!!!!!!!", base64(1, 2)), "base64"],
    ["base64 of half a number", data(Buffer.alloc(6).toString("base64"), base64(1)), "base64"],
    ["an object", data({}, {}), "no vector"],
    [
      "an index twice",
      {
        data: [
          { index: 0, embedding: [1] },
          { index: 0, embedding: [1] },
        ],
      },
      "two embeddings",
    ],
    [
      "an index beyond",
      {
        data: [
          { index: 0, embedding: [1] },
          { index: 7, embedding: [1] },
        ],
      },
      "not sent",
    ],
    [
      "a negative index",
      {
        data: [
          { index: -1, embedding: [1] },
          { index: 1, embedding: [1] },
        ],
      },
      "not sent",
    ],
    [
      "a fraction for an index",
      {
        data: [
          { index: 0.5, embedding: [1] },
          { index: 1, embedding: [1] },
        ],
      },
      "not sent",
    ],
    ["no list", {}, "without embeddings"],
    ["a list of nothing", { data: [null, null] }, "no JSON object"],
    ["no JSON", "<html>", "not JSON"],
    ["no object", "[]", "without embeddings"],
  ])("with %s are the engine's error", async (_what, body, problem) => {
    says(body);
    const failure = await failureOf(driver.embed?.(embedAttempt(["a", "b"]), calm));
    expect(failure).toMatchObject({ reason: "ENGINE_PROTOCOL", problem: expect.stringContaining(problem) });
  });

  test("of another length than was asked for are the engine's error", async () => {
    says(data([1, 2, 3]));
    const failure = await failureOf(driver.embed?.(embedAttempt(["a"], { dimensions: 2 }), calm));
    expect(failure).toMatchObject({ reason: "ENGINE_PROTOCOL" });
  });

  test.each<[string, unknown]>([
    ["negative", -1],
    ["a fraction", 1.5],
    ["beyond any context", 1e12],
    ["a text", "5"],
  ])("whose count is %s have none", async (_what, prompt_tokens) => {
    says({ ...data([1]), usage: { prompt_tokens } });
    expect(await driver.embed?.(embedAttempt(["a"]), calm)).toMatchObject({ tokens: undefined });
  });

  test.each<[string, number, unknown, string]>([
    ["404 of the path", 404, { detail: "Not Found" }, "UNSUPPORTED"],
    [
      "501",
      501,
      { error: { code: 501, message: "start it with --embeddings", type: "not_supported_error" } },
      "UNSUPPORTED",
    ],
    ["a model that generates", 400, { error: { message: "The model does not support Embeddings API" } }, "UNSUPPORTED"],
    ["404 of the model", 404, { error: { message: "The model `fake` does not exist." } }, "ENGINE_UNAVAILABLE"],
    ["400", 400, { error: { message: "dimensions must be positive" } }, "ENGINE_REFUSED"],
    [
      "a context that is too small",
      400,
      { error: { message: "This model's maximum context length is 512 tokens. However, you requested 900 tokens" } },
      "CONTEXT_LENGTH_EXCEEDED",
    ],
    ["401", 401, { error: { message: "sk-secret-key is wrong" } }, "ENGINE_CREDENTIAL"],
    ["429", 429, {}, "ENGINE_OVERLOADED"],
    ["500", 500, { error: { message: "CUDA error with sk-secret-key" } }, "ENGINE_FAILED"],
    ["503", 503, {}, "ENGINE_OVERLOADED"],
    ["a redirect", 302, {}, "ENGINE_PROTOCOL"],
    ["an error inside a 200", 200, { error: { message: "it broke", code: 500 } }, "ENGINE_FAILED"],
  ])("answered with %s fail for the right reason, and tell no key", async (_what, status, body, reason) => {
    says(body, status);
    const failure = await failureOf(driver.embed?.(embedAttempt(["a"]), calm));
    expect(failure.reason).toBe(reason);
    expect(failure.problem).not.toContain("sk-secret");
  });

  test("longer than the target bears, compressed, cut in the middle or never begun fail", async () => {
    says(data(Array.from({ length: 60_000 }, () => 0.5)));
    expect((await failureOf(driver.embed?.(embedAttempt(["a"]), calm))).reason).toBe("ANSWER_TOO_LARGE");
    answers = ({ response }) =>
      void response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" }).end("x");
    expect((await failureOf(driver.embed?.(embedAttempt(["a"]), calm))).reason).toBe("ENGINE_PROTOCOL");
    answers = ({ response, socket }) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": 100 });
      response.write('{"data":[', () => socket.resetAndDestroy());
    };
    expect((await failureOf(driver.embed?.(embedAttempt(["a"]), calm))).reason).toBe("ENGINE_UNAVAILABLE");
    answers = ({ socket }) => void socket.destroy();
    expect((await failureOf(driver.embed?.(embedAttempt(["a"]), calm))).reason).toBe("ENGINE_UNAVAILABLE");
  });

  test("that their caller takes back close the connection at once", async () => {
    const left = new Promise<void>((resolve) => {
      answers = (exchange) => void exchange.left.then(resolve);
    });
    const caller = new AbortController();
    const asked = failureOf(driver.embed?.(embedAttempt(["a"]), caller.signal));
    await expect.poll(() => server.requests.length).toBe(1);
    caller.abort(fail(ErrorReason.CANCELLED));
    expect(await asked).toMatchObject({ reason: "CANCELLED" });
    await left;
    expect(await failureOf(driver.embed?.(embedAttempt(["a"]), caller.signal))).toMatchObject({ reason: "CANCELLED" });
    expect(server.requests).toHaveLength(1);
  });

  test("that never come end with the time that the target bears", async () => {
    answers = () => undefined;
    await using patient = openDriver(Dialect.OPENAI, targetAt(server.url, { clock, totalMs: 5_000 }));
    const asked = failureOf(patient.embed?.(embedAttempt(["a"]), calm));
    await expect.poll(() => server.requests.length).toBe(1);
    clock.advance(5_000);
    expect(await asked).toMatchObject({ reason: "ENGINE_TIMEOUT" });
  });
});

describe("rankings over HTTP", () => {
  test("are read in any order, under either name, and from a bare list", async () => {
    const results = [
      { index: 1, relevance_score: 0.9 },
      { index: 0, relevance_score: 0.2 },
    ];
    says({ results, usage: { total_tokens: 12 } });
    expect(await driver.rerank?.(rerankAttempt("q", ["a", "b"]), calm)).toEqual({ scores: [0.2, 0.9], tokens: 12 });
    expect(server.requests[0]).toMatchObject({
      path: "/v1/rerank",
      body: { model: "fake", query: "q", documents: ["a", "b"], return_documents: false },
    });
    says([{ score: 3 }, { score: -2 }]);
    expect(await driver.rerank?.(rerankAttempt("q", ["a", "b"]), calm)).toEqual({ scores: [3, -2], tokens: undefined });
  });

  test.each<[string, unknown]>([
    ["one too few", { results: [{ index: 0, relevance_score: 1 }] }],
    [
      "one twice",
      {
        results: [
          { index: 0, score: 1 },
          { index: 0, score: 1 },
        ],
      },
    ],
    [
      "one of nothing",
      {
        results: [
          { index: 0, score: 1 },
          { index: 2, score: 1 },
        ],
      },
    ],
    [
      "no number",
      {
        results: [
          { index: 0, score: null },
          { index: 1, score: 1 },
        ],
      },
    ],
    ["no results", {}],
    ["results that are none", { results: [1, 2] }],
  ])("with %s are the engine's error", async (_what, body) => {
    says(body);
    expect((await failureOf(driver.rerank?.(rerankAttempt("q", ["a", "b"]), calm))).reason).toBe("ENGINE_PROTOCOL");
  });
});

describe("counts of tokens over HTTP", () => {
  const text = { case: "prompt" as const, value: "hello" };
  const chat = {
    case: "conversation" as const,
    value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "hi" } }] }] },
  };

  test("are asked of vLLM in one step, beside its OpenAI paths", async () => {
    says({ count: 3, tokens: [1, 2, 3] });
    expect(await driver.countTokens?.(countAttempt(text, named("vllm")), calm)).toBe(3);
    expect(await driver.countTokens?.(countAttempt(chat, named("vllm")), calm)).toBe(3);
    expect(await driver.countTokens?.(countAttempt(chat, named("sglang"), "<user>hi"), calm)).toBe(3);
    expect(server.requests.map(({ path, body }) => [path, body])).toEqual([
      ["/tokenize", { model: "fake", prompt: "hello", add_special_tokens: true }],
      ["/tokenize", { model: "fake", messages: [{ role: "user", content: "hi" }], add_generation_prompt: true }],
      ["/tokenize", { model: "fake", prompt: "<user>hi", add_special_tokens: false }],
    ]);
  });

  test("are asked of llama.cpp in two", async () => {
    answers = ({ path, response }) => {
      const body = path === "/apply-template" ? { prompt: "<hi>" } : { tokens: [5, 6] };
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
    };
    expect(await driver.countTokens?.(countAttempt(chat, named("llamacpp")), calm)).toBe(2);
    expect(server.requests.map(({ path, body }) => [path, body])).toEqual([
      ["/apply-template", { messages: [{ role: "user", content: "hi" }] }],
      ["/tokenize", { content: "<hi>", add_special: true, parse_special: true }],
    ]);
  });

  test.each<[string, string, unknown]>([
    ["negative", "vllm", { count: -1 }],
    ["none", "vllm", {}],
    ["a text", "vllm", { count: "3" }],
    ["no list", "llamacpp", { tokens: 3 }],
  ])("that are %s are the engine's error", async (_what, flavour, body) => {
    says(body);
    expect((await failureOf(driver.countTokens?.(countAttempt(text, named(flavour)), calm))).reason).toBe(
      "ENGINE_PROTOCOL",
    );
  });
});
