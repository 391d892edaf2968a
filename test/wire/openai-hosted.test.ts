import { afterAll, describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import { detectDialect, openDriver } from "../../services/drivers/registry.ts";
import { chatChunk, type FakeExchange, startFakeOpenAi } from "../fakes/fake-openai.ts";
import { attemptAt, run, targetAt } from "./attempts.ts";
import { embedAttempt } from "./unary-calls.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const input = {
  case: "conversation" as const,
  value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "hi" } }] }] },
};

type Response = { writeHead(code: number, headers?: Record<string, string>): { end(text?: string): void } };

/** What OpenAI says of itself, with every answer. */
const headers = { "content-type": "application/json", "openai-version": "2020-10-01", "openai-processing-ms": "9" };
const listed = (response: Response) =>
  response.writeHead(200, headers).end('{"object":"list","data":[{"id":"gpt","object":"model","owned_by":"system"}]}');
const azureList = { object: "list", data: [{ id: "gpt-4o-2024-08-06", object: "model", status: "succeeded" }] };

const good = (exchange: FakeExchange) => {
  exchange.startStream();
  exchange.event({ choices: [], prompt_filter_results: [{ prompt_index: 0 }] });
  exchange.event(chatChunk({ content: "hello" }));
  exchange.event(chatChunk({}, "stop"));
  exchange.done();
};

async function serve(kind: "openai" | "azure", generate: (exchange: FakeExchange) => void = good, query = "") {
  const routes =
    kind === "openai"
      ? { "/v1/models": listed }
      : {
          "/openai/models?api-version=2024-10-21": azureList,
          "/openai/models?api-version=2025-01-01-preview": azureList,
        };
  const engine = cleanup.use(await startFakeOpenAi({ generate, routes }));
  const url = kind === "openai" ? engine.url : `${engine.url}/openai/deployments/my-gpt${query}`;
  const target = targetAt(url, { engineKey: "our-key" });
  const driver = cleanup.use(openDriver(Dialect.OPENAI, target));
  const probe = await driver.probe(AbortSignal.timeout(5_000));
  const [model] = probe.models;
  if (!model) throw new Error("there is no model");
  return { engine, target, driver, probe, model, attempt: (request = {}) => attemptAt(model, { input, ...request }) };
}

describe("OpenAI's own API", () => {
  test("is known by a field of its answers, and asked neither for health nor for load", async () => {
    const { probe, model, engine } = await serve("openai");
    expect(probe).toMatchObject({ engine: "openai", load: { running: -1, waiting: -1 } });
    expect(model).toMatchObject({ engineModel: "gpt", flavour: "hosted", ready: true });
    expect(engine.asked).toEqual(["/v1/models"]);
  });

  test("is told the most tokens as it wants it, and the key as a bearer's", async () => {
    const { driver, attempt, engine } = await serve("openai");
    expect((await run(driver, attempt())).text()).toBe("hello");
    expect(engine.requests[0]).toMatchObject({ path: "/v1/chat/completions", body: { max_completion_tokens: 16 } });
    expect(engine.requests[0]?.body).not.toHaveProperty("max_tokens");
    expect(engine.requests[0]?.headers).toMatchObject({ authorization: "Bearer our-key" });
  });

  test.each<[string, object]>([
    ["top_k", { topK: 5 }],
    ["min_p", { minP: 0.1 }],
    ["repetition_penalty", { repetitionPenalty: 1.1 }],
    ["min_tokens", { minTokens: 1 }],
    ["stop_token_ids", { stopTokenIds: [1] }],
    ["ignore_eos", { ignoreEos: true }],
  ])("has no %s", async (param, sampling) => {
    const { driver, attempt } = await serve("openai");
    const outcome = await run(driver, attempt({ sampling }));
    expect([outcome.reason, outcome.failure?.facts["param"]]).toEqual(["UNSUPPORTED", param]);
  });

  const refuse =
    (status: number, error: object, more: Record<string, string> = {}) =>
    (exchange: FakeExchange) =>
      void exchange.response
        .writeHead(status, { "content-type": "application/json", ...more })
        .end(JSON.stringify({ error }));
  const limited = { message: "Rate limit reached", type: "requests", code: "rate_limit_exceeded" };
  const used = (of: string, reset: string) => ({
    [`x-ratelimit-remaining-${of}`]: "0",
    [`x-ratelimit-reset-${of}`]: reset,
  });

  test.each<[string, Record<string, string>, number | undefined]>([
    ["nothing", {}, undefined],
    ["retry-after", { "retry-after": "3", ...used("tokens", "9s") }, 3_000],
    ["retry-after-ms", { "retry-after-ms": "120", "retry-after": "1" }, 120],
    ["a limit on requests", used("requests", "6m0s"), 360_000],
    ["a short one", used("requests", "20ms"), 20],
    ["two limits", { ...used("requests", "1s"), ...used("tokens", "1m1.5s") }, 61_500],
    ["seconds, as Azure has them", used("tokens", "30"), 30_000],
    ["what is left", { "x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "1s" }, undefined],
    ["nonsense", used("requests", "soon"), undefined],
    ["an absurd time", used("requests", `${"9".repeat(40)}s`), undefined],
  ])("429 with %s", async (_, more, retryAfterMs) => {
    const { driver, attempt } = await serve("openai", refuse(429, limited, more));
    const outcome = await run(driver, attempt());
    expect([outcome.reason, outcome.failure?.retryAfterMs]).toEqual(["ENGINE_OVERLOADED", retryAfterMs]);
  });

  test("an account without credit is ours, and no overload that passes", async () => {
    const error = {
      message: "You exceeded your current quota",
      type: "insufficient_quota",
      code: "insufficient_quota",
    };
    const { driver, attempt } = await serve("openai", refuse(429, error));
    expect((await run(driver, attempt())).reason).toBe("ENGINE_CREDENTIAL");
  });
});

describe("a deployment of Azure's", () => {
  test("is known by its address, which names the model", async () => {
    const { probe, model, target } = await serve("azure");
    expect(probe.engine).toBe("azure openai");
    expect(model).toMatchObject({ engineModel: "my-gpt", flavour: "azure" });
    expect(await detectDialect(target, AbortSignal.timeout(5_000))).toBe(Dialect.OPENAI);
  });

  test.each([
    ["", "2024-10-21"],
    ["?api-version=2025-01-01-preview", "2025-01-01-preview"],
  ])("is asked in the version of its address (%s)", async (query, version) => {
    const { driver, attempt, engine, model } = await serve("azure", good, query);
    expect((await run(driver, attempt())).text()).toBe("hello");
    const [asked] = engine.requests;
    expect(asked?.path).toBe(`/openai/deployments/my-gpt/chat/completions?api-version=${version}`);
    expect(asked?.headers).toMatchObject({ "api-key": "our-key" });
    expect(asked?.headers).not.toHaveProperty("authorization");
    const embedding = driver.embed?.(embedAttempt(["x"], { model }), AbortSignal.timeout(1_000));
    await expect(embedding).rejects.toThrow();
    expect(engine.requests[1]?.path).toBe(`/openai/deployments/my-gpt/embeddings?api-version=${version}`);
  });

  test.each<[string, number, object, string]>([
    [
      "no such deployment",
      404,
      { error: { code: "DeploymentNotFound", message: "It does not exist." } },
      "ENGINE_UNAVAILABLE",
    ],
    ["a wrong key", 401, { statusCode: 401, message: "Access denied" }, "ENGINE_CREDENTIAL"],
    [
      "too many requests",
      429,
      { error: { code: "429", message: "Please retry after 6 seconds." } },
      "ENGINE_OVERLOADED",
    ],
    [
      "a filter",
      400,
      { error: { code: "content_filter", message: "The prompt was filtered", status: 400 } },
      "ENGINE_REFUSED",
    ],
  ])("that says %s", async (_, status, body, reason) => {
    const { driver, attempt } = await serve("azure", ({ response }) => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
    expect((await run(driver, attempt())).reason).toBe(reason);
  });

  test("that refuses the key says so to the prober", async () => {
    const refusing = (response: Response) =>
      response.writeHead(401).end('{"statusCode":401,"message":"Access denied"}');
    const routes = { "/openai/models?api-version=2024-10-21": refusing };
    const engine = cleanup.use(await startFakeOpenAi({ routes }));
    const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(`${engine.url}/openai/deployments/x`)));
    await expect(driver.probe(AbortSignal.timeout(5_000))).rejects.toThrow("credential");
  });
});
