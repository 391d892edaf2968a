import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Simulator, startSimulator } from "../../services/simulator/simulator.ts";
import { eventually } from "../rpc/eventually.ts";

let simulator: Simulator;
let ordinal = 0;

beforeAll(async () => {
  const speed = { slots: 4, waitingMax: 4, prefillMsPerToken: 0, decodeMsPerToken: 1, contextLength: 500 };
  simulator = await startSimulator({ speed, tgi: { port: 0 } });
});
afterAll(() => simulator[Symbol.asyncDispose]());

const post = (path: string, body: unknown, id = `tgi-${ordinal++}`, signal?: AbortSignal) =>
  fetch(simulator.tgiUrl + path, {
    method: "POST",
    headers: { "x-request-id": id },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });

interface Event {
  readonly index: number;
  readonly token: { readonly text: string; readonly special: boolean };
  readonly generated_text: string | null;
  readonly details: { readonly finish_reason: string; readonly generated_tokens: number } | null;
  readonly error?: string;
  readonly error_type?: string;
}

async function stream(inputs: string, parameters: object = {}): Promise<{ status: number; events: Event[] }> {
  const response = await post("/generate_stream", { inputs, parameters: { details: true, ...parameters } });
  const text = await response.text();
  const lines = text.split("\n\n").filter((line) => line.startsWith("data:"));
  return { status: response.status, events: lines.map((line): Event => JSON.parse(line.slice("data:".length))) };
}

interface CallChunk {
  readonly choices: readonly {
    readonly finish_reason: string | null;
    readonly delta: { readonly tool_calls: readonly { function: { name: string | null; arguments: string } }[] };
  }[];
  readonly usage: object | null;
}

const textOf = (events: readonly Event[]) => events.map(({ token }) => (token.special ? "" : token.text)).join("");

describe("a stream", () => {
  test("has an event for each token, and the details with the last one, which is special", async () => {
    const { events } = await stream("[[sim length=20]] hello", { max_new_tokens: null });
    expect(events.map(({ index }) => index)).toEqual(Array.from({ length: 21 }, (_, at) => at + 1));
    expect(events.slice(0, -1).every(({ details }) => details === null)).toBe(true);
    expect(events.at(-1)).toMatchObject({
      token: { special: true },
      details: { finish_reason: "eos_token", generated_tokens: 21, input_length: 6 },
    });
  });

  test("is greedy, and as long as fits, where nothing is said", async () => {
    const [one, other] = [await stream("[[sim length=600]] x"), await stream("[[sim length=600]] x")];
    expect(one.events.at(-1)?.details).toMatchObject({ finish_reason: "length", generated_tokens: 495 });
    expect(textOf(one.events)).toBe(textOf(other.events));
  });

  test("leaves the stop text in, and finds it only at a token's end", async () => {
    const { events } = await stream("[[sim length=300]] x");
    const [, second, third] = events.map(({ token }) => token.text);
    const whole = await stream("[[sim length=300]] x", { stop: [second] });
    expect([textOf(whole.events).endsWith(second ?? ""), whole.events.at(-1)?.details?.finish_reason]).toEqual([
      true,
      "stop_sequence",
    ]);
    const inside = await stream("[[sim length=300]] x", { stop: [(third ?? "").slice(0, -1)] });
    expect(inside.events.length).toBeGreaterThan(3);
  });

  test("has marks of calls and thought as special tokens", async () => {
    const { events } = await stream('[[sim think mistral]][[sim call mistral gauge {"days":3}]]', {});
    const special = events.flatMap(({ token }) => (token.special ? [token.text] : []));
    expect(special).toEqual(["[THINK]", "[/THINK]", "[TOOL_CALLS]", "[ARGS]", "</s>"]);
    expect(events.at(-1)?.generated_text).toBe(textOf(events));
  });

  test("tells errors as events after a good status", async () => {
    const refused = await stream("x", { top_p: 1 });
    expect([refused.status, refused.events[0]]).toMatchObject([200, { error_type: "validation" }]);
    const failed = await stream("[[sim error after=2]] x", { max_new_tokens: 9 });
    expect(failed.events.at(-1)).toMatchObject({ error_type: "generation" });
  });
});

describe("a whole answer", () => {
  test("counts the prompt in a header only", async () => {
    const response = await post("/generate", { inputs: "hello you", parameters: { max_new_tokens: 4, details: true } });
    expect(response.headers.get("x-prompt-tokens")).toBe("3");
    expect(await response.json()).toMatchObject({ details: { finish_reason: "length", generated_tokens: 4 } });
  });

  test.each([
    ["temperature", 0, "`temperature` must be strictly positive"],
    ["top_p", 1, "`top_p` must be > 0.0 and < 1.0"],
    ["top_k", 0, "`top_k` must be strictly positive"],
    ["typical_p", 1, "`typical_p` must be > 0.0 and < 1.0"],
    ["stop", ["a", "b", "c", "d", "e"], "`stop` supports up to 4 stop sequences. Given: 5"],
    ["max_new_tokens", 600, "must be <= 500. Given: 1 `inputs` tokens and 600 `max_new_tokens`"],
    ["grammar", { type: "json", value: { type: "object" } }, "must have a 'properties' field"],
  ])("is refused where %s is %j", async (name, value, text) => {
    const response = await post("/generate", { inputs: "x", parameters: { [name]: value } });
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ error: expect.stringContaining(text), error_type: "validation" });
  });

  test.each([
    ["reject", 429, "overloaded"],
    ["error", 424, "generation"],
    ["early_end", 500, "incomplete_generation"],
  ])("that is told to %s has a status of its own", async (kind, status, type) => {
    const response = await post("/generate", { inputs: `[[sim ${kind} after=0]]` });
    expect([response.status, await response.json()]).toMatchObject([status, { error_type: type }]);
  });
});

test("a chat is OpenAI's, but for its end at a stop text", async () => {
  const messages = [{ role: "user", content: "[[sim length=300]] x" }];
  const ask = async (more: object) =>
    (await (await post("/v1/chat/completions", { model: "tgi", messages, temperature: 0, ...more })).json()) as {
      choices: { finish_reason: string; message: { content: string } }[];
    };
  const free = await ask({ max_tokens: 9 });
  expect(free.choices[0]?.finish_reason).toBe("length");
  const stop = free.choices[0]?.message.content.split(" ")[2] ?? "";
  expect((await ask({ max_tokens: 9, stop: [stop] })).choices[0]?.finish_reason).toBe("stop_sequence");
});

test("a call has no end of its own: its usage follows the last brace", async () => {
  const parameters = { type: "object", properties: { river: { type: "string" } }, required: ["river"] };
  const body = {
    model: "tgi",
    messages: [{ role: "user", content: "x" }],
    tools: [{ type: "function", function: { name: "gauge", parameters } }],
    tool_choice: "required",
    stream: true,
    stream_options: { include_usage: true },
  };
  const chunksOf = async (more: object) => {
    const text = await (await post("/v1/chat/completions", { ...body, ...more })).text();
    const lines = text.trim().split("\n\n");
    expect(lines.at(-1)).toBe("data:[DONE]");
    return lines.slice(0, -1).map((line): CallChunk => JSON.parse(line.slice("data:".length)));
  };
  const chunks = await chunksOf({});
  const choices = chunks.flatMap((chunk) => chunk.choices);
  expect(choices.every(({ finish_reason: reason }) => reason === null)).toBe(true);
  const calls = choices.flatMap(({ delta }) => delta.tool_calls);
  expect(calls.map((call) => call.function.name)).toEqual(["gauge", ...calls.slice(1).map(() => null)]);
  expect(JSON.parse(calls.map((call) => call.function.arguments).join(""))).toHaveProperty("river");
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: choices.length + 1 } });
  expect((await chunksOf({ max_tokens: 2 })).at(-2)?.choices[0]?.finish_reason).toBe("length");
});

test.each<[string, object, string]>([
  ["messages", { messages: "x" }, "missing field `messages`"],
  ["a content", { messages: [{ role: "user", content: null }] }, "messages[0]: data did not match any variant"],
  [
    "a function's parameters",
    { messages: [{ role: "user", content: "x" }], tools: [{ type: "function", function: { name: "f" } }] },
    "tools[0].function: missing field `arguments`",
  ],
])("a chat without %s is none, also to be counted", async (_, body, problem) => {
  for (const path of ["/chat_tokenize", "/v1/chat/completions"]) {
    const response = await post(path, { model: "tgi", stream: true, ...body });
    expect([path, response.status, await response.text()]).toEqual([path, 422, expect.stringContaining(problem)]);
  }
});

test("a chat of a text and calls loses the calls", async () => {
  const calls = [{ id: "0", type: "function", function: { name: "f", arguments: "{}" } }];
  const count = async (message: object) => {
    const messages = [
      { role: "user", content: "x" },
      { role: "assistant", ...message },
    ];
    const answer = await (await post("/chat_tokenize", { messages })).json();
    return (answer as { tokenize_response: unknown[] }).tokenize_response.length;
  };
  const both = await count({ content: "y", tool_calls: calls });
  expect(both).toBe(await count({ content: "y" }));
  expect(await count({ tool_calls: calls })).toBeGreaterThan(both);
});

test("who leaves ends what runs", async () => {
  const leave = new AbortController();
  const body = { inputs: "[[sim hang after=1]] x", parameters: { max_new_tokens: 9 } };
  const asked = post("/generate", body, "left", leave.signal);
  const last = () => simulator.recorder.entries().findLast(({ id }) => id === "left")?.event;
  await eventually("it runs", () => last() === "produced");
  leave.abort();
  await expect(asked).rejects.toThrow();
  await eventually("it is cancelled", () => last() === "cancelled");
});

test("it says who it is, and how full", async () => {
  const info = (await (await fetch(`${simulator.tgiUrl}/info`)).json()) as object;
  expect(info).toMatchObject({ model_id: "weir-sim", max_total_tokens: 500, max_stop_sequences: 4 });
  expect(await (await fetch(`${simulator.tgiUrl}/metrics`)).text()).toContain("tgi_queue_size 0");
});
