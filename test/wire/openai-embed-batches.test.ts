import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Dialect, ReplicaModelSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Driver } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { type FakeExchange, type FakeOpenAi, startFakeOpenAi } from "../fakes/fake-openai.ts";
import { usualTurn } from "../fakes/longest-turn.ts";
import { startWideEmbeddings } from "../fakes/wide-embeddings.ts";
import { targetAt } from "./attempts.ts";
import { calm, embedAttempt, failureOf, numbersOf } from "./unary-calls.ts";

let server: FakeOpenAi;
let driver: Driver;
let answers: (exchange: FakeExchange) => void;

beforeEach(async () => {
  server = await startFakeOpenAi({ generate: (exchange) => answers(exchange) });
  driver = openDriver(Dialect.OPENAI, targetAt(server.url));
});
afterEach(async () => {
  await driver[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const model = create(ReplicaModelSchema, { engineModel: "fake" });
const texts = (count: number) => Array.from({ length: count }, (_, index) => String(index));
const inputsOf = ({ body }: FakeExchange) => body["input"] as string[];

function answer(exchange: FakeExchange, vectorOf: (input: string) => string): void {
  const inputs = inputsOf(exchange);
  const data = inputs.map((input, index) => `{"index":${index},"embedding":${vectorOf(input)}}`).join();
  exchange.response
    .writeHead(200, { "content-type": "application/json" })
    .end(`{"data":[${data}],"usage":{"prompt_tokens":${inputs.length}}}`);
}

describe("many inputs", () => {
  test.each(["base64", "numbers"])("in %s are asked for in parts, and hold up nobody", async (form) => {
    await using wide = await startWideEmbeddings();
    await using at = openDriver(Dialect.OPENAI, targetAt(`${wide.url}/${form}`));
    const embed = (count: number) => at.embed?.(embedAttempt(texts(count), { model, dimensions: 3_072 }), calm);
    // The first time is the compiler's.
    await embed(256);
    const { turnMs, result } = await usualTurn(20, async () => await embed(2_048));
    expect(result?.vectors.map((vector) => numbersOf(vector.subarray(0, 4))[0])).toEqual(texts(2_048).map(Number));
    expect(result?.tokens).toBe(2_048);
    expect(turnMs).toBeLessThan(20);
  });

  test("are requests of their own names", async () => {
    answers = (exchange) => answer(exchange, () => "[1,2]");
    await driver.embed?.(embedAttempt(texts(2_048), { model }), calm);
    expect(new Set(server.requests.map(({ headers }) => headers["x-request-id"])).size).toBe(3);
  });

  test("are few requests where vectors are short", async () => {
    answers = (exchange) => answer(exchange, () => "[1,2]");
    await driver.embed?.(embedAttempt(texts(2_048), { model }), calm);
    expect(server.requests.map((exchange) => inputsOf(exchange).length)).toEqual([32, 32, 1_984]);
  });

  test("are one request where they are few", async () => {
    answers = (exchange) => answer(exchange, () => "[1,2]");
    await driver.embed?.(embedAttempt(texts(32), { model }), calm);
    expect(server.requests).toHaveLength(1);
  });

  test("whose tokens are not told for a part have no count", async () => {
    answers = ({ response, body }) => {
      const inputs = body["input"] as string[];
      const told = inputs.includes("0") ? {} : { usage: { prompt_tokens: 5 } };
      response
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify({ data: inputs.map((_, index) => ({ index, embedding: [1] })), ...told }));
    };
    const embedded = await driver.embed?.(embedAttempt(texts(64), { model }), calm);
    expect(embedded?.vectors).toHaveLength(64);
    expect(embedded?.tokens).toBeUndefined();
  });

  test("whose vectors are of different lengths in different parts are no answer", async () => {
    answers = (exchange) => answer(exchange, () => (inputsOf(exchange).includes("0") ? "[1,2]" : "[1,2,3]"));
    const told = await failureOf(driver.embed?.(embedAttempt(texts(64), { model }), calm));
    expect(told).toMatchObject({ reason: "ENGINE_PROTOCOL", problem: "embeddings of different dimensions" });
  });

  test("of which a part fails fail, and the others are ended", async () => {
    answers = (exchange) => {
      if (inputsOf(exchange).includes("0")) return;
      exchange.response.writeHead(400, { "content-type": "application/json" }).end('{"error":{"message":"no"}}');
    };
    expect((await failureOf(driver.embed?.(embedAttempt(texts(64), { model }), calm))).reason).toBe("ENGINE_REFUSED");
    await server.requests.find((exchange) => inputsOf(exchange).includes("0"))?.left;
    expect(server.requests).toHaveLength(2);
  });

  test("are all ended when the caller leaves", async () => {
    const leaving = new AbortController();
    answers = () => {
      if (server.requests.length === 2) leaving.abort(fail(ErrorReason.CANCELLED));
    };
    const failure = failureOf(driver.embed?.(embedAttempt(texts(2_048), { model }), leaving.signal));
    expect((await failure).reason).toBe("CANCELLED");
    await Promise.all(server.requests.map(({ left }) => left));
    expect(server.requests).toHaveLength(2);
  });
});
