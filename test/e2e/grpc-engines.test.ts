import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Gateway, startGateway } from "../fakes/gateway.ts";
import { openFolder } from "../fakes/open-folder.ts";
import { eventsOf } from "../fakes/raw-request.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";

let engine: SimulatorProcess;
let tail: RecordTail;
let gateway: Gateway;

const template = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\n{% endfor %}<|assistant|>";

beforeAll(async () => {
  engine = await startSimulatorProcess(["--decode-ms", "2", "--prefill-ms", "0"]);
  tail = new RecordTail(engine.recordPath);
  const file = join(await openFolder("weir-templates-"), "template.jinja");
  await writeFile(file, template);
  // The dialects are found by asking.
  gateway = await startGateway(`pools:
  - { id: tgis, replicas: [{ url: "${engine.tgisUrl}" }] }
  - { id: vllm, replicas: [{ url: "${engine.vllmUrl}" }] }
  - { id: both, replicas: [{ url: "${engine.vllmUrl}", http_url: "${engine.httpUrl}" }] }
models:
  - { id: tgis, pool: tgis, chat_template: "${file}" }
  - { id: vllm, pool: vllm, engine_model: weir-sim, chat_template: "${file}" }
  - { id: both, pool: both, engine_model: weir-sim }
`);
}, 60_000);
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  tail?.[Symbol.dispose]();
  await engine?.[Symbol.asyncDispose]();
});

async function ask(path: string, body: object): Promise<{ readonly status: number; readonly json: Answer }> {
  const response = await fetch(`http://127.0.0.1:${gateway.port}${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${gateway.key}`, "content-type": "application/json" },
    body: JSON.stringify({ temperature: 0, ...body }),
  });
  return { status: response.status, json: (await response.json()) as Answer };
}

interface Answer {
  readonly choices?: readonly {
    readonly text?: string;
    readonly message?: { readonly content: string | null; readonly tool_calls?: unknown[] };
    readonly finish_reason: string;
    readonly logprobs?: { readonly tokens?: string[] } | null;
  }[];
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly error?: { readonly code: string; readonly param: string | null };
}

const messages = [{ role: "user", content: "tell me of the river" }];

describe.each(["tgis", "vllm", "both"])("a model over gRPC: %s", (model) => {
  it("completes a prompt, at once and as a stream", async () => {
    const wish = { model, prompt: "tell me of the river", max_tokens: 8 };
    const { json } = await ask("/v1/completions", wish);
    expect(json.choices?.[0]).toMatchObject({ finish_reason: "length" });
    expect(json.usage).toMatchObject({ prompt_tokens: 5, completion_tokens: 8 });
    const streamed = await gateway.ask("/v1/completions", { ...wish, temperature: 0, stream: true }).done();
    const events = eventsOf(streamed?.body ?? "");
    expect([events.text, events.dones]).toEqual([json.choices?.[0]?.text, 1]);
  });

  it("chats", async () => {
    const { status, json } = await ask("/v1/chat/completions", { model, messages, max_tokens: 8 });
    expect(status).toBe(200);
    expect(json.choices?.[0]?.message?.content).toMatch(/\w/);
  });

  it("is stopped when its caller leaves", async () => {
    const wish = { model, prompt: "[[sim length=5000]] all of it", stream: true, max_tokens: 5_000 };
    const request = gateway.ask("/v1/completions", wish);
    await eventually("it runs", () => tail.open().length === 1);
    request.socket.destroy();
    await expect.poll(() => tail.open().length).toBe(0);
  });

  it("refuses by name what it cannot do", async () => {
    const { status, json } = await ask("/v1/completions", { model, prompt: "x", n: 2 });
    expect([status, json.error?.param]).toEqual([400, "n"]);
  });
});

describe("tools", () => {
  const tools = [{ type: "function", function: { name: "f", parameters: { type: "object", properties: {} } } }];

  it("are called where the server serves HTTP beside its gRPC", async () => {
    const { json } = await ask("/v1/chat/completions", { model: "both", messages, tools, tool_choice: "required" });
    expect(json.choices?.[0]?.message?.tool_calls).toHaveLength(1);
  });

  it("are refused by name where it does not", async () => {
    const { status, json } = await ask("/v1/chat/completions", { model: "vllm", messages, tools });
    expect([status, json.error?.param]).toEqual([400, "tools"]);
  });
});

describe("a prompt without an answer", () => {
  it("is echoed where the server serves HTTP, and counted as a prompt", async () => {
    const wish = { model: "both", prompt: "tell me of the river", echo: true, max_tokens: 0 };
    const { json } = await ask("/v1/completions", wish);
    expect(json.choices).toMatchObject([{ text: "tell me of the river", finish_reason: "length" }]);
    // vLLM makes a token all the same.
    expect(json.usage).toMatchObject({ prompt_tokens: 5, completion_tokens: 1 });
    const streamed = await gateway.ask("/v1/completions", { ...wish, stream: true }).done();
    expect(eventsOf(streamed?.body ?? "")).toMatchObject({ text: "tell me of the river", dones: 1 });
  });

  it("is scored where that is asked for, all but its first token", async () => {
    const wish = { model: "both", prompt: "tell me of the river", echo: true, max_tokens: 0, logprobs: 1 };
    const { json } = await ask("/v1/completions", wish);
    expect(json.choices?.[0]?.logprobs).toMatchObject({
      tokens: ["tell", " me ", "of t", "he r", "iver"],
      token_logprobs: [null, ...Array(4).fill(expect.any(Number))],
      top_logprobs: [null, ...Array(4).fill(expect.any(Object))],
    });
    expect(json.usage).toMatchObject({ prompt_tokens: 5, completion_tokens: 1 });
  });

  it("is refused by name where it can't be echoed, or is not to be", async () => {
    const wish = { model: "vllm", prompt: "x", max_tokens: 0 };
    const echoed = await ask("/v1/completions", { ...wish, echo: true });
    expect([echoed.status, echoed.json.error?.param]).toEqual([400, "echo"]);
    const silent = await ask("/v1/completions", wish);
    expect([silent.status, silent.json.error?.param]).toEqual([400, "max_tokens"]);
  });
});

it("log probabilities of a prompt are refused, as nobody would see them", async () => {
  for (const model of ["vllm", "both"]) {
    const { status, json } = await ask("/v1/completions", { model, prompt: "x", prompt_logprobs: 1 });
    expect([status, json.error]).toMatchObject([400, { code: "unsupported_parameter", param: "prompt_logprobs" }]);
  }
});

it("log probabilities have the texts of their tokens", async () => {
  for (const model of ["tgis", "both"]) {
    const { json } = await ask("/v1/completions", { model, prompt: "x", max_tokens: 3, logprobs: 1 });
    expect(json.choices?.[0]?.logprobs?.tokens?.join("")).toBe(json.choices?.[0]?.text);
  }
});
