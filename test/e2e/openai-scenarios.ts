import OpenAI from "openai";
import { expect } from "vitest";

/** A server that speaks OpenAI's API, a key for it, and a model that chats, calls tools and counts. */
export interface Target {
  /** Without /v1. */
  readonly url: string;
  readonly apiKey: string;
  readonly model: string;
}

/** What a user of the official client does, by name. Each fails by an assertion, or by the client's own error. */
export type Scenario = (target: Target) => Promise<void>;

const question = [{ role: "user" as const, content: "What is the capital of France?" }];
const weather = {
  type: "function" as const,
  function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
};

/** No retries: a scenario sees the first answer. */
export function clientOf({ url, apiKey }: Target): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 20_000 });
}

async function failureOf(run: PromiseLike<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  try {
    await run;
  } catch (thrown) {
    if (thrown instanceof OpenAI.APIError) return thrown;
    throw thrown;
  }
  throw new Error("it succeeded, and should have failed");
}

async function listOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

export const scenarios: Readonly<Record<string, Scenario>> = {
  async "an answer in one piece"(target) {
    const client = clientOf(target);
    const { data, response } = await client.chat.completions
      .create({ model: target.model, messages: question })
      .withResponse();
    expect(data).toMatchObject({
      object: "chat.completion",
      model: target.model,
      choices: [{ index: 0, message: { role: "assistant" } }],
    });
    expect(data.choices[0]?.message.content).not.toBe("");
    expect(data.usage?.total_tokens).toBe((data.usage?.prompt_tokens ?? 0) + (data.usage?.completion_tokens ?? 0));
    expect(response.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  },

  async "a stream, read chunk by chunk"(target) {
    const stream = await clientOf(target).chat.completions.create({
      model: target.model,
      messages: question,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = await listOf(stream);
    expect(new Set(chunks.map(({ id, created, model }) => `${id} ${created} ${model}`)).size).toBe(1);
    expect(chunks[0]?.choices[0]?.delta.role).toBe("assistant");
    expect(
      chunks.flatMap(({ choices }) => choices.map(({ finish_reason }) => finish_reason)).filter(Boolean),
    ).toHaveLength(1);
    expect(chunks.slice(0, -1).map(({ usage }) => usage)).toEqual(chunks.slice(0, -1).map(() => null));
    expect(chunks.at(-1)).toMatchObject({ choices: [] });
    expect(chunks.at(-1)?.usage?.completion_tokens).toBeGreaterThan(0);
  },

  async "the stream helper ends with the whole answer"(target) {
    const runner = clientOf(target).chat.completions.stream({ model: target.model, messages: question });
    let seen = "";
    runner.on("content", (delta) => {
      seen += delta;
    });
    const final = await runner.finalChatCompletion();
    expect(final.choices[0]?.message.content).toBe(seen);
    expect(["stop", "length"]).toContain(final.choices[0]?.finish_reason);
  },

  async "several choices, streamed"(target) {
    const runner = clientOf(target).chat.completions.stream({ model: target.model, messages: question, n: 3 });
    const final = await runner.finalChatCompletion();
    expect(final.choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(final.choices.every(({ message }) => Boolean(message.content))).toBe(true);
  },

  async "a limit on tokens ends with length"(target) {
    const answer = await clientOf(target).chat.completions.create({
      model: target.model,
      messages: question,
      max_completion_tokens: 2,
    });
    expect(answer.choices[0]?.finish_reason).toBe("length");
  },

  async "log probabilities"(target) {
    const answer = await clientOf(target).chat.completions.create({
      model: target.model,
      messages: question,
      logprobs: true,
      top_logprobs: 2,
    });
    const tokens = answer.choices[0]?.logprobs?.content ?? [];
    expect(tokens.length).toBeGreaterThan(0);
    expect(tokens.every(({ top_logprobs, logprob }) => top_logprobs.length === 2 && logprob <= 0)).toBe(true);
  },

  async "a call of a tool, in one piece and streamed, and its result sent back"(target) {
    const client = clientOf(target);
    const ask = { model: target.model, messages: question, tools: [weather], tool_choice: "required" as const };
    const whole = await client.chat.completions.create(ask);
    const streamed = await client.chat.completions.stream(ask).finalChatCompletion();
    for (const { choices } of [whole, streamed]) {
      expect(choices[0]?.finish_reason).toBe("tool_calls");
      const call = choices[0]?.message.tool_calls?.[0];
      expect(call).toMatchObject({ type: "function", function: { name: "weather" } });
      expect(call?.type === "function" && typeof JSON.parse(call.function.arguments)).toBe("object");
    }
    const { message } = whole.choices[0]!;
    const results = (message.tool_calls ?? []).map(({ id }) => ({
      role: "tool" as const,
      tool_call_id: id,
      content: "sunny",
    }));
    const second = await client.chat.completions.create({
      model: target.model,
      messages: [...question, message, ...results],
    });
    expect(second.choices[0]?.message.content).not.toBe("");
  },

  async "an answer in JSON"(target) {
    const answer = await clientOf(target).chat.completions.create({
      model: target.model,
      messages: question,
      response_format: { type: "json_schema", json_schema: { name: "city", schema: { type: "object" } } },
    });
    expect(typeof JSON.parse(answer.choices[0]?.message.content ?? "")).toBe("object");
  },

  async "completions of several prompts, in one piece and streamed"(target) {
    const client = clientOf(target);
    const ask = { model: target.model, prompt: ["one", "two"], n: 2, max_tokens: 4 };
    const whole = await client.completions.create(ask);
    expect(whole.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    const texts = new Map<number, string>();
    for await (const { choices } of await client.completions.create({ ...ask, stream: true })) {
      for (const { index, text } of choices) texts.set(index, (texts.get(index) ?? "") + text);
    }
    expect([...texts.keys()].sort((a, b) => a - b)).toEqual([0, 1, 2, 3]);
    expect([...texts.values()].every((text) => text !== "")).toBe(true);
  },

  async "the models, and one of them"(target) {
    const client = clientOf(target);
    const list = await listOf(client.models.list());
    expect(list.map(({ id }) => id)).toContain(target.model);
    expect(await client.models.retrieve(target.model)).toMatchObject({ id: target.model, object: "model" });
  },

  async "a wrong key"(target) {
    const error = await failureOf(clientOf({ ...target, apiKey: "sk-wrong" }).models.list());
    expect(error).toBeInstanceOf(OpenAI.AuthenticationError);
    expect(error).toMatchObject({ status: 401, code: "invalid_api_key", type: "invalid_request_error" });
  },

  async "a model that is not there"(target) {
    const error = await failureOf(clientOf(target).models.retrieve("no/such-model"));
    expect(error).toBeInstanceOf(OpenAI.NotFoundError);
    expect(error).toMatchObject({ status: 404, code: "model_not_found" });
  },

  async "a parameter out of bounds"(target) {
    const error = await failureOf(
      clientOf(target).chat.completions.create({ model: target.model, messages: question, temperature: 3 }),
    );
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({ status: 400, code: "decimal_above_max_value", param: "temperature" });
    expect(error.requestID).toMatch(/^[0-9a-f-]{36}$/);
  },

  async "a stream that its reader leaves"(target) {
    const stream = await clientOf(target).chat.completions.create({
      model: target.model,
      messages: question,
      stream: true,
    });
    for await (const _chunk of stream) break;
    expect(stream.controller.signal.aborted).toBe(true);
  },
};
