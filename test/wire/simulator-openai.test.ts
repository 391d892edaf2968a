import OpenAI from "openai";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Simulator, startSimulator } from "../../services/simulator/simulator.ts";
import { eventually } from "../rpc/eventually.ts";

let simulator: Simulator;
let client: OpenAI;
let id = "";
let ordinal = 0;

beforeAll(async () => {
  const speed = { slots: 4, prefillMsPerToken: 0, decodeMsPerToken: 1, contextLength: 2_000 };
  simulator = await startSimulator({ speed, openai: { port: 0 } });
  client = new OpenAI({ baseURL: `${simulator.httpUrl}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => simulator[Symbol.asyncDispose]());
beforeEach(() => {
  id = `openai-${ordinal++}`;
});

const recorded = (of = id) => simulator.recorder.entries().filter((entry) => entry.id === of);
const events = (of = id) => recorded(of).map(({ event }) => event);

const chat = (content: string, more: object = {}) => ({
  model: "weir-sim",
  messages: [{ role: "user" as const, content }],
  ...more,
});

function post(body: unknown, { path = "chat/completions", signal }: { path?: string; signal?: AbortSignal } = {}) {
  return fetch(`${simulator.httpUrl}/v1/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-request-id": id },
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
}

async function json(response: Response | Promise<Response>) {
  return JSON.parse(await (await response).text());
}

/** The events of a stream as JSON, and its last words; undefined if it did not end as HTTP does. */
async function stream(body: object, path?: string) {
  const response = await post({ ...body, stream: true }, path === undefined ? {} : { path });
  let text = "";
  let broken = false;
  try {
    for await (const chunk of response.body ?? []) text += Buffer.from(chunk).toString("utf8");
  } catch {
    // A reset is what some of the tests wait for.
    broken = true;
  }
  const lines = text.split("\n\n").filter((line) => line !== "");
  const done = lines.at(-1) === "data: [DONE]";
  const chunks = lines.filter((line) => line !== "data: [DONE]").map((line) => JSON.parse(line.replace("data: ", "")));
  return { status: response.status, chunks, done, broken };
}

describe("a chat", () => {
  test("is the same text streamed and in one piece, for the same seed", async () => {
    const whole = await client.chat.completions.create(chat("hello", { seed: 5 }));
    const streamed = await client.chat.completions.create({ ...chat("hello", { seed: 5 }), stream: true });
    let text = "";
    for await (const chunk of streamed) text += chunk.choices[0]?.delta.content ?? "";
    expect(text).toBe(whole.choices[0]?.message.content);
    expect(text.length).toBeGreaterThan(20);
    const other = await client.chat.completions.create(chat("hello", { seed: 6 }));
    expect(other.choices[0]?.message.content).not.toBe(text);
  });

  test("opens all choices with their roles, ends each once, and tells usage last", async () => {
    const { chunks, done } = await stream(
      chat("two of them", { n: 2, max_tokens: 4, ignore_eos: true, stream_options: { include_usage: true } }),
    );
    expect(chunks.slice(0, 2).map(({ choices }) => [choices[0].index, choices[0].delta.role])).toEqual([
      [0, "assistant"],
      [1, "assistant"],
    ]);
    const ends = chunks.flatMap(({ choices }) => choices).filter(({ finish_reason }) => finish_reason !== null);
    expect(ends.map(({ index, finish_reason }) => [index, finish_reason])).toEqual([
      [0, "length"],
      [1, "length"],
    ]);
    expect(chunks.slice(0, -1).every(({ usage }) => usage === null)).toBe(true);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 8 } });
    expect(new Set(chunks.map(({ id: each }) => each)).size).toBe(1);
    expect(done).toBe(true);
  });

  test("says nothing of usage unless asked, and on every chunk if asked for that", async () => {
    const quiet = await stream(chat("quiet", { max_tokens: 2 }));
    expect(quiet.chunks.some((chunk) => "usage" in chunk)).toBe(false);
    const options = { include_usage: true, continuous_usage_stats: true };
    const told = await stream(chat("told", { max_tokens: 2, stream_options: options }));
    expect(told.chunks.map(({ usage }) => usage.completion_tokens)).toEqual([0, 1, 2, 2]);
  });

  test("ends before a stop text, which it names, also when it comes in pieces", async () => {
    const seeded = chat("stop me", { seed: 3, max_tokens: 40, ignore_eos: true });
    const whole = await json(post(seeded));
    const text: string = whole.choices[0].message.content;
    const stop = text.slice(21, 31);
    const { chunks } = await stream({ ...seeded, stop: ["never said", stop] });
    const shown = chunks.map(({ choices }) => choices[0].delta.content ?? "").join("");
    expect(shown).toBe(text.slice(0, text.indexOf(stop)));
    expect(chunks.at(-1).choices[0]).toMatchObject({ finish_reason: "stop", stop_reason: stop });
    expect(events().at(-1)).toBe("finished");
  });

  test("calls a function when it must, with arguments that fit", async () => {
    const parameters = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } } };
    const tools = [{ type: "function" as const, function: { name: "weather", parameters } }];
    const demanded = chat("rain?", { tools, tool_choice: "required" });
    const whole = await json(post(demanded));
    expect(whole.choices[0]).toMatchObject({ finish_reason: "tool_calls", message: { content: null } });
    const call = whole.choices[0].message.tool_calls[0];
    expect(JSON.parse(call.function.arguments)).toEqual({ city: "river", days: 42 });
    const { chunks } = await stream(demanded);
    const fragments = chunks.flatMap(({ choices }) => choices[0].delta.tool_calls ?? []);
    expect(fragments[0]).toMatchObject({ index: 0, type: "function", function: { name: "weather", arguments: "" } });
    expect(fragments.map((fragment) => fragment.function.arguments).join("")).toBe(call.function.arguments);
    expect(chunks.at(-1).choices[0].finish_reason).toBe("tool_calls");
    const short = await json(post({ ...demanded, max_tokens: 2 }));
    expect(short.choices[0].finish_reason).toBe("length");
  });

  test("answers in JSON when told to", async () => {
    const schema = { type: "object", properties: { ok: { type: "boolean" } } };
    const format = { type: "json_schema", json_schema: { name: "answer", schema } };
    const { choices } = await json(post(chat("json", { response_format: format })));
    expect(JSON.parse(choices[0].message.content)).toEqual({ ok: true });
  });

  test("lists log probabilities as chat does", async () => {
    const { choices } = await json(post(chat("odds", { logprobs: true, top_logprobs: 2, max_tokens: 3 })));
    const { content } = choices[0].logprobs;
    expect(content).toHaveLength(3);
    expect(content[0]).toMatchObject({ token: expect.any(String), logprob: expect.any(Number) });
    expect(Buffer.from(content[0].bytes).toString()).toBe(content[0].token);
    expect(content[0].top_logprobs.map(({ token }: { token: string }) => token)[0]).toBe(content[0].token);
    expect(content[0].top_logprobs).toHaveLength(2);
  });

  test("tells which of the prompt's tokens were cached", async () => {
    const long = `${id} ${"downstream ".repeat(100)}`;
    const first = await client.chat.completions.create(chat(long, { max_tokens: 1 }));
    const second = await client.chat.completions.create(chat(`${long}!`, { max_tokens: 1 }));
    const salted = await json(post(chat(`${long}!`, { max_tokens: 1, cache_salt: "another tenant" })));
    expect(first.usage?.prompt_tokens_details).toBeNull();
    expect(second.usage?.prompt_tokens_details?.cached_tokens).toBe(256);
    expect(salted.usage.prompt_tokens_details).toBeNull();
  });
});

describe("a completion", () => {
  test("lists log probabilities side by side, with offsets into the text", async () => {
    const body = { model: "weir-sim", prompt: "Once", max_tokens: 5, logprobs: 1, seed: 9, ignore_eos: true };
    const whole = await json(post(body, { path: "completions" }));
    const { text, logprobs } = whole.choices[0];
    expect(logprobs.tokens).toHaveLength(5);
    expect(logprobs.token_logprobs).toHaveLength(5);
    expect(Object.keys(logprobs.top_logprobs[0])).toEqual([logprobs.tokens[0]]);
    expect(logprobs.text_offset[0]).toBe(0);
    expect(text.slice(logprobs.text_offset[1])).toBe(logprobs.tokens.slice(1).join(""));
    const { chunks } = await stream(body, "completions");
    expect(chunks.flatMap(({ choices }) => choices[0].logprobs.tokens)).toEqual(logprobs.tokens);
    expect(chunks.map(({ choices }) => choices[0].text).join("")).toBe(text);
  });

  test("repeats the prompt when asked, and takes token ids", async () => {
    const completion = { model: "weir-sim", max_tokens: 2 };
    const echoed = await client.completions.create({ ...completion, prompt: "Once upon", echo: true });
    expect(echoed.choices[0]?.text.startsWith("Once upon")).toBe(true);
    const ids = await client.completions.create({ ...completion, prompt: [1, 2, 3_000_000] });
    expect(ids.usage?.prompt_tokens).toBe(3);
  });

  test("scores the prompt that it repeats, all but its first token", async () => {
    const body = { model: "weir-sim", prompt: "Once upon a time", echo: true, max_tokens: 0, logprobs: 1 };
    const [choice] = (await json(post(body, { path: "completions" }))).choices;
    const { tokens, token_logprobs: values, top_logprobs: tops } = choice.logprobs;
    expect(tokens.join("")).toBe(choice.text);
    expect([values[0], tops[0]]).toEqual([null, null]);
    expect(values.slice(1)).toEqual(Array(tokens.length - 1).fill(expect.any(Number)));
    const { chunks } = await stream(body, "completions");
    expect(chunks[0].choices[0].logprobs.token_logprobs).toEqual(values);
  });
});

test("an answer that is longer than what the prompt leaves is cut to it", async () => {
  const prompt = "x".repeat(7_900);
  const body = { model: "weir-sim", prompt, max_tokens: 2_000, ignore_eos: true };
  const { choices, usage } = await json(post(body, { path: "completions" }));
  expect(choices[0].finish_reason).toBe("length");
  expect(usage).toMatchObject({ prompt_tokens: 1_975, completion_tokens: 25, total_tokens: 2_000 });
});

describe("a refusal", () => {
  const refused: { what: string; body: unknown; status: number; says: string }[] = [
    { what: "no JSON", body: "{", status: 400, says: "JSON object" },
    { what: "another model", body: { ...chat("x"), model: "gpt" }, status: 404, says: "does not exist" },
    { what: "no messages", body: { model: "weir-sim", messages: [] }, status: 400, says: "messages" },
    { what: "a negative temperature", body: chat("x", { temperature: -1 }), status: 400, says: "non-negative, got -1" },
    { what: "no choices", body: chat("x", { n: 0 }), status: 400, says: "n must be" },
    { what: "half a token", body: chat("x", { max_tokens: 0.5 }), status: 400, says: "max_tokens" },
    {
      what: "an endless seed",
      body: '{"model":"weir-sim","seed":1e999,"messages":[{"role":"user","content":""}]}',
      status: 400,
      says: "seed",
    },
    { what: "an empty stop text", body: chat("x", { stop: [""] }), status: 400, says: "empty string" },
    {
      what: "stream options without a stream",
      body: chat("x", { stream_options: {} }),
      status: 400,
      says: "stream=True",
    },
    {
      what: "a prompt over the context",
      body: chat("x".repeat(9_000)),
      status: 400,
      says: "maximum context length is 2000 tokens",
    },
    {
      what: "more tokens than the context has",
      body: chat("x", { max_tokens: 2_001 }),
      status: 400,
      says: "too large: 2001",
    },
  ];

  test.each(refused)("of $what", async ({ body, status, says }) => {
    const response = await post(body);
    const { error } = await json(response);
    expect(response.status).toBe(status);
    expect(error).toMatchObject({ message: expect.stringContaining(says), code: status });
    expect(events()).toEqual([]);
  });
});

describe("a fault", () => {
  test.each([true, false])("reject is a 503 before anything else, streaming: %s", async (streaming) => {
    const response = await post(chat("[[sim reject]]", { stream: streaming }));
    expect(response.status).toBe(503);
    expect((await json(response)).error.message).toContain("queue is full");
    expect(events()).toEqual(["received", "failed"]);
  });

  test("error is a 500, or an event before the end of a stream", async () => {
    const whole = await post(chat("[[sim error after=2]]"));
    expect(whole.status).toBe(500);
    expect((await json(whole)).error.message).toContain("CUDA error");
    const { status, chunks, done } = await stream(chat("[[sim error after=2]]"));
    expect([status, done]).toEqual([200, true]);
    expect(chunks.at(-1).error.code).toBe(500);
    expect(chunks).toHaveLength(4);
  });

  test("cut resets the connection after the bytes before it", async () => {
    const { chunks, broken, done } = await stream(chat("[[sim cut after=3]]"));
    expect([broken, done]).toEqual([true, false]);
    expect(chunks).toHaveLength(4);
    await expect(post(chat("[[sim cut]]"))).rejects.toThrow("fetch failed");
  });

  test("early_end ends well without having finished", async () => {
    const { chunks, broken, done } = await stream(chat("[[sim early_end after=2]]"));
    expect([broken, done]).toEqual([false, false]);
    expect(chunks.at(-1).choices[0].finish_reason).toBeNull();
    const whole = await json(post(chat("[[sim early_end after=2]]")));
    expect(whole.choices[0].finish_reason).toBeNull();
  });

  test("delay and drip take their time", async () => {
    const timed = async (content: string) => {
      const startMs = performance.now();
      await post(chat(content, { max_tokens: 3, ignore_eos: true })).then((response) => response.text());
      return performance.now() - startMs;
    };
    expect(await timed("[[sim delay after=1 ms=150]]")).toBeGreaterThanOrEqual(149);
    expect(await timed("[[sim drip ms=80]]")).toBeGreaterThanOrEqual(159);
  });

  test("hang says nothing more until the caller leaves", async () => {
    const leave = new AbortController();
    const response = await post(chat("[[sim hang after=1]]", { stream: true }), { signal: leave.signal });
    const reader = response.body?.getReader();
    await reader?.read();
    await eventually("a token is recorded", () => events().includes("produced"));
    leave.abort();
    await eventually("the cancel is recorded", () => events().at(-1) === "cancelled");
    expect(recorded().at(-1)).toMatchObject({ tokens: 1 });
  });

  test("is commanded over HTTP, for the next request only", async () => {
    const commanded = await fetch(`${simulator.httpUrl}/sim/faults`, {
      method: "POST",
      body: JSON.stringify({ kind: "error" }),
    });
    expect(await json(commanded)).toEqual({ commanded: 1 });
    expect((await post(chat("fine"))).status).toBe(500);
    expect((await post(chat("fine", { max_tokens: 1 }))).status).toBe(200);
    const { entries } = await json(fetch(`${simulator.httpUrl}/sim/log`));
    expect(entries.filter((entry: { id: string }) => entry.id === id).at(-1).event).toBe("finished");
  });

  test("crash resets all connections at once and takes no more", async () => {
    await using doomed = await startSimulator({ openai: { port: 0 } });
    const ask = (content: string) =>
      fetch(`${doomed.httpUrl}/v1/chat/completions`, { method: "POST", body: JSON.stringify(chat(content)) });
    const bystander = ask("I was here first");
    await eventually("1 run", () => doomed.engine.load().running === 1);
    await Promise.all([
      expect(ask("[[sim crash]]")).rejects.toThrow("fetch failed"),
      expect(bystander).rejects.toThrow("fetch failed"),
    ]);
    await expect(ask("anybody?")).rejects.toThrow("fetch failed");
    expect(doomed.recorder.entries().filter(({ fault }) => fault === "crash")).toHaveLength(2);
  });
});

describe("a caller that leaves is recorded as cancelled", () => {
  const phases: { phase: string; streaming: boolean; last: string; content: string; crowd: number }[] = [
    { phase: "the queue", last: "received", content: "waits", crowd: 4 },
    { phase: "prefill", last: "started", content: "[[sim delay after=0 ms=60000]]", crowd: 0 },
    { phase: "decode", last: "produced", content: "[[sim drip after=1 ms=60000]]", crowd: 0 },
  ].flatMap((phase) => [true, false].map((streaming) => ({ ...phase, streaming })));

  test.each(phases)("in $phase, streaming: $streaming", async ({ last, content, crowd, streaming }) => {
    const mine = id;
    const leave = new AbortController();
    const others = new AbortController();
    for (let i = 0; i < crowd; i++) {
      id = `${mine}-crowd-${i}`;
      post(chat("[[sim hang]]"), { signal: others.signal }).catch(() => undefined);
    }
    await eventually("crowd run", () => simulator.engine.load().running === crowd);
    id = mine;
    const body = chat(content, { stream: streaming });
    post(body, { signal: leave.signal })
      .then((response) => response.text())
      .catch(() => undefined);
    await eventually(`${last} is recorded`, () => events().at(-1) === last);
    const leftMs = performance.timeOrigin + performance.now();
    leave.abort();
    await eventually("the cancel is recorded", () => events().at(-1) === "cancelled");
    expect((recorded().at(-1)?.atMs ?? 0) - leftMs).toBeLessThan(250);
    others.abort();
    await eventually("0 run", () => simulator.engine.load().running === 0);
  });
});

test("it says that it is a vLLM, and how busy it is", async () => {
  const get = async (path: string) => (await fetch(`${simulator.httpUrl}${path}`)).text();
  expect(JSON.parse(await get("/version"))).toEqual({ version: expect.stringContaining("simulator") });
  expect(JSON.parse(await get("/v1/models")).data).toMatchObject([{ id: "weir-sim", max_model_len: 2_000 }]);
  expect(await get("/health")).toBe("");
  expect(await get("/metrics")).toContain('vllm:num_requests_waiting{engine="0",model_name="weir-sim"} 0');
});

test("a reader that never reads is cut before its answer fills the memory", async () => {
  await using fast = await startSimulator({
    openai: { port: 0 },
    speed: { decodeMsPerToken: 0, prefillMsPerToken: 0, contextLength: 1_000_000, kvTokens: 1e9 },
  });
  const never = await fetch(`${fast.httpUrl}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify(chat("on and on", { n: 128, stream: true, ignore_eos: true })),
  });
  await eventually("the cut is recorded", () => fast.recorder.entries().at(-1)?.event === "cancelled", 20_000);
  await expect(never.text()).rejects.toThrow("terminated");
});
