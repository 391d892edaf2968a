import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseFlags } from "../../services/runtime/config/flags.ts";
import { loadSettings } from "../../services/runtime/config/load.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { special, tokenizerFile } from "../../services/simulator/vocabulary.ts";
import { startWeir } from "../../services/weir.ts";
import { longestTurn } from "../fakes/longest-turn.ts";
import { openFolder } from "../fakes/open-folder.ts";
import { createTestDatabase } from "../fakes/postgres.ts";
import { eventsOf, RawRequest } from "../fakes/raw-request.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { tokenizerFolder } from "../fakes/tokenizer-files.ts";
import { eventually } from "../rpc/eventually.ts";

/** In this process, so that it can be seen what its thread does. */
interface OwnGateway extends AsyncDisposable {
  ask(path: string, body: object): RawRequest;
}

const template = "{% for message in messages %}<|turn|>{{ message.content }}\n{% endfor %}<|turn|>";

async function startHere(yaml: string): Promise<OwnGateway> {
  await using resources = new AsyncDisposableStack();
  const database = resources.use(await createTestDatabase());
  const folder = await openFolder("weir-tokens-");
  const file = join(folder, "weir.yaml");
  const head = `listen: { port: 0, admin_port: 0, mesh_port: 0 }\npostgres: { url: "${database.url}" }\n`;
  await writeFile(file, head + yaml);
  const parsed = parseFlags(["--config", file]);
  if (!("flags" in parsed)) throw new Error(parsed.problems.join("\n"));
  const { settings } = loadSettings(parsed.flags);
  const weir = resources.use(await startWeir({ settings, clock: systemClock, log: pino({ level: "silent" }) }));
  const key = (await readFile(join(settings.dataDir, "admin.key"), "utf8")).trim();
  const port = weir.api?.port ?? 0;
  while (!(await fetch(`http://127.0.0.1:${weir.admin.port}/readyz`)).ok) await delay(20);
  const running = resources.move();
  return {
    ask: (path, body) => new RawRequest({ port, key, path, body }),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

let engine: SimulatorProcess;
let tail: RecordTail;
let gateway: OwnGateway;

beforeAll(async () => {
  const flags = ["--decode-ms", "2", "--prefill-ms", "0", "--context", "400000", "--kv-tokens", "2000000"];
  engine = await startSimulatorProcess(flags);
  tail = new RecordTail(engine.recordPath);
  const { folder, sha256 } = tokenizerFolder(tokenizerFile(), {
    "tokenizer_config.json": { eos_token: special.end, pad_token: special.pad },
  });
  const file = join(folder, "template.jinja");
  await writeFile(file, template);
  gateway = await startHere(`pools:
  - { id: triton, replicas: [{ url: "${engine.grpcUrl}" }] }
  - { id: vllm, replicas: [{ url: "${engine.vllmUrl}" }] }
models:
  - id: core
    pool: triton
    engine_model: tensorrt_llm
    chat_template: "${file}"
    tokenizer: { path: "${folder}", sha256: "${sha256}" }
  - id: vllm
    pool: vllm
    engine_model: weir-sim
    chat_template: "${file}"
    tokenizer: { path: "${folder}", sha256: "${sha256}" }
  - { id: bare, pool: triton, engine_model: tensorrt_llm, chat_template: "${file}" }
`);
}, 60_000);
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  tail?.[Symbol.dispose]();
  await engine?.[Symbol.asyncDispose]();
});

interface Answer {
  readonly choices: readonly {
    readonly text: string;
    readonly finish_reason: string;
    readonly message: { content: string };
  }[];
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly error?: { readonly code: string };
}

async function ask(path: string, body: object): Promise<{ readonly status: number; readonly json: Answer }> {
  const reply = await gateway.ask(path, { model: "core", temperature: 0, ...body }).done();
  return { status: reply?.status ?? 0, json: JSON.parse(reply?.body ?? "{}") as Answer };
}

describe("TensorRT-LLM's core model, with a tokenizer", () => {
  it("completes a prompt, at once and as a stream, and counts every token", async () => {
    const wish = { prompt: "tell me of the river", max_tokens: 20, seed: 5 };
    const { json } = await ask("/v1/completions", wish);
    // " of", " the" and " river" are words of the vocabulary; of "tell me" each byte is a token.
    expect(json.usage).toMatchObject({ prompt_tokens: 10, completion_tokens: 20 });
    expect(json.choices[0]?.finish_reason).toBe("length");
    const streamed = await gateway
      .ask("/v1/completions", { model: "core", temperature: 0, ...wish, stream: true })
      .done();
    const events = eventsOf(streamed?.body ?? "");
    expect([events.text, events.dones]).toEqual([json.choices[0]?.text, 1]);
    expect(events.text).not.toContain("\ufffd");
  });

  it("takes token ids as they are", async () => {
    const { json } = await ask("/v1/completions", { prompt: [...Buffer.from("hi")], max_tokens: 3 });
    expect(json.usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 3 });
  });

  it("chats, through a template whose tokens are the model's own", async () => {
    const messages = [{ role: "user", content: "hi" }];
    const { status, json } = await ask("/v1/chat/completions", { messages, max_tokens: 8 });
    expect(status).toBe(200);
    expect(json.choices[0]?.message.content).toMatch(/\w/);
    expect(json.usage.prompt_tokens).toBe(5);
  });

  it.each(["core", "vllm"])("what a caller writes is never a token of the template's: %s", async (model) => {
    const count = async (content: string) => {
      const { json } = await ask("/v1/chat/completions", {
        model,
        messages: [{ role: "user", content }],
        max_tokens: 2,
      });
      return json.usage.prompt_tokens;
    };
    // A token for each letter and the line's end, between two of the template's.
    expect(await count("hi")).toBe(5);
    expect(await count("<|turn|>")).toBe(3 + "<|turn|>".length);
  });

  it("ends before a stop text, and tells no token that ends a text", async () => {
    const wish = { prompt: "[[sim text one two🌊three]] on", max_tokens: 60 };
    const { json } = await ask("/v1/completions", wish);
    expect(json.choices[0]).toMatchObject({ text: "one two🌊three", finish_reason: "stop" });
    const stopped = await ask("/v1/completions", { ...wish, stop: ["o🌊t"] });
    expect(stopped.json.choices[0]).toMatchObject({ text: "one tw", finish_reason: "stop" });
  });

  it("is stopped when its caller leaves", async () => {
    const wish = { model: "core", prompt: "[[sim length=5000]] all of it", stream: true, max_tokens: 5_000 };
    const request = gateway.ask("/v1/completions", wish);
    await eventually("it runs", () => tail.open().length === 1);
    request.socket.destroy();
    await expect.poll(() => tail.open().length).toBe(0);
  });

  it("is not offered without one, and the caller is told why", async () => {
    const { status, json } = await ask("/v1/completions", { model: "bare", prompt: "hi" });
    expect([status, json.error?.code]).toEqual([400, "tokenizer_missing"]);
  });

  it.each(["prompt", "messages"])(
    "100,000 tokens of a %s do not hold up another stream for 20 ms",
    async (member) => {
      const paced = gateway.ask("/v1/completions", {
        model: "core",
        prompt: "[[sim length=2000]] [[sim drip ms=5]] on",
        stream: true,
        max_tokens: 2_000,
      });
      await eventually("it streams", () => paced.reply()?.body.includes("data:") ?? false);
      const long = (first: string) => {
        const text = first + " the river runs over a low dam of stone".repeat(12_000);
        if (member === "prompt") return ask("/v1/completions", { prompt: text, max_tokens: 4 });
        return ask("/v1/chat/completions", { messages: [{ role: "user", content: text }], max_tokens: 4 });
      };
      // The first time code is slow that has not been compiled.
      await long("a");
      // What is not the gateway's is counted as well: this process builds the request, and reads both answers.
      const { turnMs, result } = await longestTurn(() => long("b"));
      expect(result.json.usage.prompt_tokens).toBeGreaterThan(108_000);
      expect(result.json.usage.completion_tokens).toBe(4);
      expect(turnMs).toBeLessThan(20);
      expect(paced.isClosed).toBe(false);
      paced.socket.destroy();
    },
    60_000,
  );
});
