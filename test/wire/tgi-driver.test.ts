import { afterAll, describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Attempt, Target } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { type FakeExchange, lastEvent, startFakeTgi, tokenEvent } from "../fakes/fake-tgi.ts";
import { attemptAt, run, targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

async function serve(generate: (exchange: FakeExchange) => void, more: Partial<Target> = {}) {
  const engine = cleanup.use(await startFakeTgi({ generate }));
  const driver = cleanup.use(openDriver(Dialect.TGI, targetAt(engine.url, more)));
  const [model] = (await driver.probe(AbortSignal.timeout(5_000))).models;
  if (!model) throw new Error("the fake has no model");
  return {
    engine,
    driver,
    attempt: (request = {}, rest: Partial<Attempt> = {}) => attemptAt(model, request, rest),
  };
}

const events = (...all: unknown[]) => all.map((one) => `data:${JSON.stringify(one)}\n\n`).join("");
const hello = tokenEvent("hello");
const end = lastEvent("!");
const stream = (body: string) => (exchange: FakeExchange) => {
  exchange.startStream();
  exchange.response.end(body);
};
describe("what is sent", () => {
  const sent = async (request: object, more: Partial<Attempt> = {}) => {
    const { driver, attempt, engine } = await serve(stream(events(hello, end)));
    const outcome = await run(driver, attempt(request, more));
    const body = engine.requests[0]?.body["parameters"];
    return { outcome, parameters: (body ?? {}) as Record<string, unknown> };
  };

  test("greedy has nothing of what would make it sample", async () => {
    const sampling = { temperature: 0, topP: 0.5, topK: 5, seed: 3n };
    const { parameters } = await sent({ sampling });
    expect(Object.keys(parameters).toSorted()).toEqual(["details", "do_sample", "max_new_tokens", "stop"]);
    expect(parameters["do_sample"]).toBe(false);
  });

  test("what is neutral is left out, and sampling is said", async () => {
    const { parameters } = await sent({ sampling: { topP: 1, topK: 0 } }, { maxTokens: 0 });
    expect(parameters).toEqual({ do_sample: true, stop: [], max_new_tokens: null, details: true });
  });

  test("four stop texts at most; the fifth is found here", async () => {
    const { parameters, outcome } = await sent({ sampling: { stop: ["a1", "b2", "c3", "d4", "lo"] } });
    expect(parameters["stop"]).toEqual(["a1", "b2", "c3", "d4"]);
    expect([outcome.text(), outcome.finish()]).toEqual(["hel", "STOP"]);
  });

  test("forms of an answer as its grammar", async () => {
    const schema = { properties: { a: { type: "string" } } };
    const format = { form: { case: "jsonSchema" as const, value: { name: "x", schemaJson: JSON.stringify(schema) } } };
    expect((await sent({ responseFormat: format })).parameters["grammar"]).toEqual({ type: "json", value: schema });
    const choice = { structured_outputs: { choice: ["a.b", "c"] } };
    const { parameters } = await sent({}, { extras: { ...choice, typo: 1 } });
    expect(parameters["grammar"]).toEqual({ type: "regex", value: "(?:a\\.b)|(?:c)" });
  });

  test.each([
    ["min_tokens", { sampling: { minTokens: 3 } }],
    ["stop_token_ids", { sampling: { stopTokenIds: [1] } }],
    ["ignore_eos", { sampling: { ignoreEos: true } }],
    ["response_format", { responseFormat: { form: { case: "jsonObject" as const, value: {} } } }],
  ])("%s has no place, and is refused by name", async (param, request) => {
    const { outcome } = await sent(request);
    expect([outcome.reason, outcome.failure?.facts["param"]]).toEqual(["UNSUPPORTED", param]);
  });
});

describe("special tokens", () => {
  const mark = tokenEvent("[TOOL_CALLS]", {}, true);
  const eos = { token: { id: 2, text: "</s>", logprob: -0.1, special: true } };
  const last = (reason: string) => ({ ...(lastEvent("</s>", { finish_reason: reason }) as object), ...eos });
  const shown = { skip_special_tokens: false };

  test.each<[string, string, Partial<Attempt>, string]>([
    ["are no text", "eos_token", {}, "hello"],
    [
      "are told where they are asked for, without the end of the text",
      "eos_token",
      { extras: shown },
      "[TOOL_CALLS]hello",
    ],
    ["are told without an end that is the last token allowed", "length", { extras: shown }, "[TOOL_CALLS]hello"],
  ])("%s", async (_, reason, more, text) => {
    const { driver, attempt } = await serve(stream(events(mark, hello, last(reason))));
    const outcome = await run(driver, attempt({}, more));
    expect([outcome.text(), outcome.tokens()]).toEqual([text, 3]);
    expect(outcome.events[0]?.event).toMatchObject({ case: "started", value: { ignored: [] } });
  });

  test("end an answer where one is a stop text", async () => {
    const { driver, attempt } = await serve(stream(events(hello, last("stop_sequence"))));
    const outcome = await run(driver, attempt({ sampling: { stop: ["</s>"] } }, { extras: shown }));
    expect([outcome.text(), outcome.finish()]).toEqual(["hello", "STOP"]);
    const finished = outcome.events.find(({ event }) => event.case === "finished");
    expect(finished?.event.value).toMatchObject({ stopSequence: "</s>" });
  });

  test("are told of a whole answer too", async () => {
    const token = (text: string, special: boolean) => ({ id: 1, text, logprob: -0.1, special });
    const tokens = [token("[TOOL_CALLS]", true), token("hello", false), token("</s>", true)];
    const body = { generated_text: "hello", details: { finish_reason: "eos_token", generated_tokens: 3, tokens } };
    const { driver, attempt } = await serve(
      ({ response }) => void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body)),
    );
    const outcome = await run(driver, attempt({ stream: false }, { extras: shown }));
    expect([outcome.text(), outcome.tokens()]).toEqual(["[TOOL_CALLS]hello", 3]);
  });
});

describe("a probe", () => {
  const ask = async (options: Parameters<typeof startFakeTgi>[0]) => {
    const engine = cleanup.use(await startFakeTgi(options));
    const driver = cleanup.use(openDriver(Dialect.TGI, targetAt(engine.url)));
    return { engine, driver, probe: () => driver.probe(AbortSignal.timeout(5_000)) };
  };

  test.each<[string, Record<string, unknown>]>([
    ["is not JSON", { "/info": "hello" }],
    ["is a list", { "/info": [] }],
    ["names no model", { "/info": { max_total_tokens: 5 } }],
    ["has a length that is none", { "/info": { model_id: "m", max_total_tokens: -1 } }],
  ])("of what %s is a protocol error", async (_, routes) => {
    await expect((await ask({ routes })).probe()).rejects.toMatchObject({ facts: { problem: expect.any(String) } });
  });

  test("of a model that went away says so", async () => {
    const { engine, driver, probe } = await ask({});
    expect((await probe()).models[0]).toMatchObject({ engineModel: "fake/model", contextLength: 1_024n, ready: true });
    await engine[Symbol.asyncDispose]();
    await expect(probe()).rejects.toThrow("could not be reached");
    expect(driver.dialect).toBe(Dialect.TGI);
  });

  test("finds load, health and whether there is a template", async () => {
    const metrics =
      "tgi_queue_size 3\ntgi_batch_current_size 2\ntgi_batch_current_max_tokens 50\ntgi_batch_max_total_tokens 200\n";
    const down = (response: { writeHead(code: number): { end(): void } }) => response.writeHead(503).end();
    const noTemplate = (response: { writeHead(code: number): { end(text: string): void } }) =>
      response.writeHead(422).end('{"error":"Template error: template not found","error_type":"template_error"}');
    const { probe } = await ask({
      routes: { "/info": { model_id: "m", max_total_tokens: 8 }, "/health": down, "/metrics": metrics },
      questions: { "/chat_tokenize": noTemplate },
    });
    const { models, load } = await probe();
    expect(load).toMatchObject({ running: 2, waiting: 3, kvUsed: 0.25 });
    expect(models[0]?.ready).toBe(false);
    expect(models[0]?.features).not.toContain(1);
  });
});
