import { type IncomingMessage, request as ask } from "node:http";
import { setImmediate as nextTurn } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { EmbedResponseSchema, type GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { accepted, finished, textDelta } from "../../services/drivers/events.ts";
import { type EdgeServer, keys, startEdge } from "../fakes/edge-server.ts";
import { usualTurn } from "../fakes/longest-turn.ts";
import { counts, type Script } from "../fakes/scripted-model.ts";

let edge: EdgeServer;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge[Symbol.asyncDispose]());

interface Told {
  readonly status: number;
  readonly length: number;
  /** As it came: to read it is not the gateway's work. */
  readonly bytes: Buffer[];
}

async function post(path: string, body: object): Promise<Told> {
  const headers = { authorization: `Bearer ${keys.good}`, "content-type": "application/json" };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent = ask(edge.url + path, { method: "POST", headers }, resolve);
    sent.on("error", reject).end(JSON.stringify({ model: "weir-sim", ...body }));
  });
  const bytes: Buffer[] = [];
  for await (const chunk of response) bytes.push(chunk as Buffer);
  return { status: response.statusCode ?? 0, length: Number(response.headers["content-length"]), bytes };
}

/** A token with twenty alternatives, as an engine tells it. */
function scored(choice: number, at: number): GenerateResponse {
  const token = ` word${at}é`;
  const bytes = Buffer.from(token);
  const message = textDelta(choice, token, 1);
  const top = Array.from({ length: 20 }, (_, i) => ({
    $typeName: "weir.router.v1.TopLogprob" as const,
    token: i === 0 ? token : `${token}${i}`,
    logprob: -0.123456789 - i,
    bytes,
  }));
  if (message.event.case === "delta")
    message.event.value.logprobs.push({
      $typeName: "weir.router.v1.TokenLogprob",
      token,
      logprob: -0.123456789,
      bytes,
      top,
      unscored: false,
    });
  return message;
}

/** Says so many tokens in each choice, as fast as an engine of many streams. */
const tells =
  (tokens: number): Script =>
  ({ request, sink }) => {
    const choices = Array.from({ length: Math.max(1, request.choices) }, (_, choice) => choice);
    const say = async () => {
      sink.event(accepted());
      for (let at = 0; at < tokens; at++) {
        for (const choice of choices) sink.event(scored(choice, at));
        sink.turn();
        await nextTurn();
      }
      for (const choice of choices) sink.event(finished(choice, FinishReason.LENGTH));
      sink.event(counts(7, tokens * choices.length));
      sink.end();
    };
    void say();
  };

interface Logprobs {
  readonly choices: readonly { readonly logprobs: { readonly content?: unknown[]; readonly tokens?: unknown[] } }[];
}

describe("a long answer in one piece holds up nobody", () => {
  test.each([
    [
      "a chat's log probabilities",
      "/v1/chat/completions",
      { messages: [{ role: "user", content: "x" }], logprobs: true, top_logprobs: 20 },
    ],
    ["a completion's log probabilities", "/v1/completions", { prompt: "x", logprobs: 5 }],
  ])("%s", async (_, path, body) => {
    edge.script = tells(64);
    await post(path, { ...body, n: 4 });
    edge.script = tells(4_096);
    const { turnMs, result } = await usualTurn(20, () => post(path, { ...body, n: 4 }));
    expect(result.status).toBe(200);
    const whole = Buffer.concat(result.bytes);
    expect(whole.length).toBe(result.length);
    const { choices } = JSON.parse(whole.toString()) as Logprobs;
    expect(choices.map(({ logprobs }) => (logprobs.content ?? logprobs.tokens)?.length)).toEqual([
      4_096, 4_096, 4_096, 4_096,
    ]);
    expect(turnMs).toBeLessThan(20);
  });

  test.each(["float", "base64"])("embeddings as %s", async (encoding_format) => {
    const values = new Uint8Array(Float32Array.from({ length: 3_072 }, (_, at) => Math.sin(at)).buffer);
    edge.unary = {
      embed: async ({ inputs }) =>
        create(EmbedResponseSchema, { embeddings: inputs.map(() => ({ values })), usage: { promptTokens: 5n } }),
    };
    await post("/v1/embeddings", { input: Array(64).fill("x"), encoding_format });
    const { turnMs, result } = await usualTurn(20, () =>
      post("/v1/embeddings", { input: Array(2_048).fill("x"), encoding_format }),
    );
    expect(result.status).toBe(200);
    const length = result.bytes.reduce((sum, chunk) => sum + chunk.length, 0);
    expect(length).toBe(result.length);
    expect(turnMs).toBeLessThan(20);
  });

  test("that would be longer than is held is refused, and the generation stopped", async () => {
    edge.script = ({ sink }) => {
      sink.event(accepted());
      sink.event(textDelta(0, "x".repeat(64 * 1024 * 1024), 1));
      sink.event(textDelta(0, "x", 1));
    };
    const { status, bytes } = await post("/v1/chat/completions", { messages: [{ role: "user", content: "x" }] });
    expect(status).toBe(400);
    expect(Buffer.concat(bytes).toString()).toContain('"code":"answer_too_large"');
    expect(edge.calls.at(-1)?.cancelled).toBeDefined();
  });

  test("is not written to its end for a reader who left", async () => {
    const values = new Uint8Array(4_096);
    let written = 0;
    const left = new AbortController();
    edge.unary = {
      embed: async ({ inputs }) => ({
        ...create(EmbedResponseSchema, {}),
        embeddings: inputs.map((_, at) => ({
          $typeName: "weir.router.v1.Embedding" as const,
          tokens: 0n,
          get values() {
            if (at === 400) left.abort();
            written = at;
            return values;
          },
        })),
      }),
    };
    const gone = fetch(`${edge.url}/v1/embeddings`, {
      method: "POST",
      headers: { authorization: `Bearer ${keys.good}`, "content-type": "application/json" },
      body: JSON.stringify({ model: "weir-sim", input: Array(2_048).fill("x"), encoding_format: "base64" }),
      signal: left.signal,
    });
    await expect(gone).rejects.toThrow();
    await expect.poll(() => edge.counted()).toContain('outcome="cancelled"');
    expect(written).toBeLessThan(2_047);
  });
});
