import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Simulator, startSimulator } from "../../services/simulator/simulator.ts";
import { eventually } from "../rpc/eventually.ts";

let simulator: Simulator;
let ordinal = 0;

beforeAll(async () => {
  const speed = { slots: 4, prefillMsPerToken: 0, decodeMsPerToken: 1, contextLength: 500 };
  simulator = await startSimulator({ speed, anthropic: { port: 0 } });
});
afterAll(() => simulator[Symbol.asyncDispose]());

const headers = { "x-api-key": "any", "anthropic-version": "2023-06-01" };
const post = (body: object, more: RequestInit = {}) =>
  fetch(`${simulator.anthropicUrl}/v1/messages`, {
    method: "POST",
    headers: { ...headers, "x-request-id": `anthropic-${ordinal++}` },
    body: JSON.stringify({ model: "weir-sim", max_tokens: 60, ...body }),
    ...more,
  });
const said = <T>(content: T, role = "user") => ({ role, content });
const hello = { messages: [said("hello")], temperature: 0 };

interface Event {
  readonly type: string;
  readonly index?: number;
  readonly delta?: { readonly type?: string; readonly text?: string };
}

async function stream(body: object): Promise<Event[]> {
  const text = await (await post({ stream: true, ...body })).text();
  return text
    .split("\n\n")
    .filter((part) => part !== "")
    .map((part) => {
      const [name = "", data = ""] = part.split("\n");
      const event: Event = JSON.parse(data.slice("data: ".length));
      // The name stands in both places, or clients skip the event.
      expect(name).toBe(`event: ${event.type}`);
      return event;
    });
}

/** Types in order, repeated ones once. */
const shape = (events: readonly Event[]) =>
  events.map(({ type }) => type).filter((type, at, all) => type !== all[at - 1]);

describe("a stream", () => {
  const block = ["content_block_start", "content_block_delta", "content_block_stop"];

  test("is a message, a ping, a block and an end, with the text of the whole answer", async () => {
    const events = await stream(hello);
    expect(shape(events)).toEqual(["message_start", "ping", ...block, "message_delta", "message_stop"]);
    const whole = (await (await post(hello)).json()) as { content: { text: string }[]; stop_reason: string };
    expect(events.map(({ delta }) => delta?.text ?? "").join("")).toBe(whole.content[0]?.text);
    expect(whole.stop_reason).toBe("end_turn");
  });

  test("thinks in a block of its own, where it is told to", async () => {
    const events = await stream({ ...hello, thinking: { type: "adaptive" } });
    expect(shape(events)).toEqual(["message_start", "ping", ...block, ...block, "message_delta", "message_stop"]);
    expect(events.map(({ delta }) => delta?.type)).toContain("signature_delta");
  });

  test("calls functions by pieces of JSON", async () => {
    const tools = [{ name: "f", input_schema: { type: "object", properties: { a: { type: "string" } } } }];
    const events = await stream({ ...hello, tools, tool_choice: { type: "any" } });
    expect(events.find(({ type }) => type === "content_block_start")).toMatchObject({
      content_block: { type: "tool_use", name: "f", input: {} },
    });
    expect(events.find(({ type }) => type === "message_delta")).toMatchObject({ delta: { stop_reason: "tool_use" } });
  });

  test("tells a failure as an event, and without a beginning as a status", async () => {
    const events = await stream({ messages: [said("[[sim error after=2]] x")] });
    expect(events.at(-1)).toMatchObject({ type: "error", error: { type: "api_error" } });
    const early = await post({ stream: true, messages: [said("[[sim error after=0]] x")] });
    expect([early.status, await early.json()]).toMatchObject([500, { type: "error" }]);
  });
});

const call = said([{ type: "tool_use", id: "t1", name: "f", input: {} }], "assistant");
const result = said([{ type: "tool_result", tool_use_id: "t1" }]);

test("a call without its thought is taken where it thinks adaptively, and one with it in any case", async () => {
  const thinking = { type: "enabled", budget_tokens: 1_024 };
  expect((await post({ messages: [said("x"), call, result], thinking: { type: "adaptive" } })).status).toBe(200);
  const thought = said([{ type: "thinking", thinking: "hm", signature: "c2ln" }, ...call.content], "assistant");
  expect((await post({ messages: [said("x"), thought, result], thinking })).status).toBe(200);
});

test.each<[string, object, string]>([
  ["no max_tokens", { ...hello, max_tokens: undefined }, "max_tokens: Field required"],
  ["a member that nobody knows", { ...hello, seed: 1 }, "seed: Extra inputs are not permitted"],
  ["a temperature above 1", { ...hello, temperature: 1.5 }, "temperature"],
  ["a stop text of white space", { ...hello, stop_sequences: ["\n"] }, "must contain non-whitespace"],
  ["an empty text", { messages: [said([{ type: "text", text: "" }])] }, "must be non-empty"],
  ["an answer first", { messages: [said("x", "assistant")] }, "first message must use the user role"],
  ["a call without a result", { messages: [said("x"), call, said("y")] }, "without `tool_result` blocks"],
  ["a result without a call", { messages: [result] }, "unexpected `tool_use_id`"],
  [
    "a call without its thought, where it thinks on a budget",
    { messages: [said("x"), call, result], thinking: { type: "enabled", budget_tokens: 1_024 } },
    "Expected `thinking` or `redacted_thinking`, but found `tool_use`",
  ],
  ["white space at the end", { messages: [said("x"), said("y ", "assistant")] }, "trailing whitespace"],
  ["a long prompt", { messages: [said("x".repeat(4_000))] }, "prompt is too long: 1002 tokens > 500 maximum"],
  ["more than fits", { ...hello, max_tokens: 499 }, "exceed context limit: 3 + 499 > 500"],
])("%s is refused", async (_, body, text) => {
  const response = await post(body);
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({
    type: "error",
    error: { type: "invalid_request_error", message: expect.stringContaining(text) },
  });
});

test.each<[string, Record<string, string>, number]>([
  ["no key", { "anthropic-version": "2023-06-01" }, 401],
  ["a bad key", { ...headers, "x-api-key": "bad-key" }, 401],
  ["no version", { "x-api-key": "any" }, 400],
])("%s is refused", async (_, sent, status) => {
  expect((await post(hello, { headers: sent })).status).toBe(status);
});

test("a count is that of the answer's prompt", async () => {
  const { usage } = (await (await post(hello)).json()) as { usage: Record<string, number> };
  const response = await fetch(`${simulator.anthropicUrl}/v1/messages/count_tokens`, {
    method: "POST",
    headers,
    body: JSON.stringify({ model: "weir-sim", messages: hello.messages }),
  });
  expect(await response.json()).toEqual({ input_tokens: usage["input_tokens"] });
});

test("a full queue is 529", async () => {
  const response = await post({ messages: [said("[[sim reject]] x")] });
  expect([response.status, await response.json()]).toMatchObject([529, { error: { type: "overloaded_error" } }]);
});

test("what the cache had is no input", async () => {
  const long = { messages: [said("of the river ".repeat(100))] };
  await post(long);
  const { usage } = (await (await post(long)).json()) as { usage: Record<string, number> };
  expect(usage["cache_read_input_tokens"]).toBeGreaterThan(200);
  expect(usage["input_tokens"]).toBeLessThan(200);
});

test("who leaves ends what runs", async () => {
  const leave = new AbortController();
  const id = { ...headers, "x-request-id": "left" };
  const asked = post({ messages: [said("[[sim hang after=1]] x")] }, { headers: id, signal: leave.signal });
  const last = () => simulator.recorder.entries().findLast((entry) => entry.id === "left")?.event;
  await eventually("it runs", () => last() === "produced");
  leave.abort();
  await expect(asked).rejects.toThrow();
  await eventually("it is cancelled", () => last() === "cancelled");
});
