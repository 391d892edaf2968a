import { setTimeout as delay } from "node:timers/promises";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { quantile } from "../bench/statistics.ts";
import { startCutProxy } from "../fakes/cut-proxy.ts";
import { type Gateway, startGateway } from "../fakes/gateway.ts";
import { startLlamaCpp } from "./llamacpp/server.ts";
import { readyTimeoutMs, type VllmProcess } from "./vllm-process.ts";

/** A way to the engine: what its replica is in the configuration. */
export interface Way {
  /** The model that callers name. */
  readonly id: string;
  readonly replica: (engine: VllmProcess) => Readonly<Record<string, string>>;
  /** Conversations need the gateway's own template. */
  readonly needsTemplate: boolean;
}

export interface BehindOptions {
  readonly start: () => Promise<VllmProcess>;
  /** Requests that it runs at a time. */
  readonly slots: number;
  /** What engine and spare call the model. */
  readonly engineModel: string;
  /** Makes an answer go on to its most tokens. */
  readonly endless: Readonly<Record<string, unknown>>;
  readonly ways: readonly Way[];
}

/** An abort is seen in the engine's own metrics, on a machine that may be busy. */
const stopTimeoutMs = 5_000;
/** In each phase, over each way. */
const abortsEach = Number(process.env["ABORTS_EACH"] ?? 20);
/** One wave after the other: what fills the engine meanwhile must not end by itself. */
const wave = 20;
/** An abort and the beginning before it take less. */
const abortsTimeoutMs = 120_000 + abortsEach * 500;

interface World extends AsyncDisposable {
  readonly engine: VllmProcess;
  readonly gateway: Gateway;
  readonly client: OpenAI;
  /** Lets the gateway reach the spare. */
  openSpare(): void;
  /** Whether it does. */
  spareIsUp(): Promise<boolean>;
}

/**
 * The whole gateway before a real engine, and llama.cpp with the same weights as a second replica, which cannot be reached
 * at first.
 */
export function describeBehindGateway(title: string, options: BehindOptions): void {
  describe(title, () => {
    let world: World;
    beforeAll(async () => {
      world = await startWorld(options);
    }, readyTimeoutMs + 60_000);
    afterAll(() => world?.[Symbol.asyncDispose]());
    describe.each(options.ways)("$id", (way) => {
      describeAnswers(way, () => world);
      describeAborts(way, options, () => world);
    });
    describeDeath(options, () => world);
  });
}

async function startWorld({ start, engineModel, ways }: BehindOptions): Promise<World> {
  await using resources = new AsyncDisposableStack();
  const engine = resources.use(await start());
  const spare = resources.use(await startLlamaCpp({ slots: 8, model: engineModel }));
  const proxy = resources.use(await startCutProxy({ host: "127.0.0.1", port: Number(new URL(spare.url).port) }));
  proxy.cut();
  const pools = ways.map(({ id, replica }) => {
    const first = JSON.stringify({ id: `${id}-engine`, ...replica(engine) });
    const second = JSON.stringify({
      id: `${id}-spare`,
      url: `http://127.0.0.1:${proxy.port}`,
      dialect: "openai",
    });
    return `  - { id: ${id}, replicas: [${first}, ${second}] }`;
  });
  const models = ways.map(({ id, needsTemplate }) => {
    const template = needsTemplate ? `, chat_template: ${spare.modelFolder}` : "";
    return `  - { id: ${id}, pool: ${id}, engine_model: ${engineModel}${template} }`;
  });
  const gateway = resources.use(
    await startGateway(["probe: { interval: 1s }", "pools:", ...pools, "models:", ...models, ""].join("\n")),
  );
  const client = new OpenAI({ baseURL: `${gateway.weir.url}/v1`, apiKey: gateway.key, maxRetries: 0 });
  const owned = resources.move();
  return {
    engine,
    gateway,
    client,
    openSpare: () => proxy.open(),
    async spareIsUp() {
      const response = await fetch(`${gateway.weir.url}/weir.catalog.v1.PoolService/ListReplicas`, {
        method: "POST",
        headers: { authorization: `Bearer ${gateway.key}`, "content-type": "application/json" },
        body: "{}",
      });
      const { replicas }: { replicas: { id: string; state: { health: string } }[] } = JSON.parse(await response.text());
      const spares = replicas.filter(({ id }) => id.endsWith("-spare"));
      return spares.every(({ state }) => state.health === "REPLICA_HEALTH_READY");
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function describeAnswers({ id: model }: Way, world: () => World): void {
  test("a chat in one piece and as a stream says the same, with counts and an end", async () => {
    const { client } = world();
    const body = {
      model,
      messages: [{ role: "user" as const, content: "Hello there" }],
      max_tokens: 12,
      temperature: 0,
    };
    const whole = await client.chat.completions.create(body);
    const stream = await client.chat.completions.create({
      ...body,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let finish: string | null | undefined;
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(whole.choices[0]?.message.content);
    expect([finish, whole.choices[0]?.finish_reason]).toEqual(["length", "length"]);
    expect(usage?.completion_tokens).toBe(12);
    expect(usage).toMatchObject({
      prompt_tokens: whole.usage?.prompt_tokens,
      completion_tokens: whole.usage?.completion_tokens,
    });
  });

  test("completions, in many at once, have each their own text", async () => {
    const { client } = world();
    const ask = async (at: number) => {
      const body = { model, prompt: `the river ${at}`, max_tokens: 8, temperature: 0 };
      return (await client.completions.create(body)).choices[0]?.text;
    };
    const together = await Promise.all(Array.from({ length: 8 }, (_, at) => ask(at)));
    expect(await ask(3)).toBe(together[3]);
    expect(new Set(together).size).toBeGreaterThan(4);
  });

  test("what is wrong with a request is said", async () => {
    const { client } = world();
    const long = client.completions.create({ model, prompt: "word ".repeat(20_000), max_tokens: 8 });
    await expect(long).rejects.toMatchObject({ status: 400, code: "context_length_exceeded" });
    const hot = client.completions.create({ model, prompt: "x", max_tokens: 8, temperature: 9 });
    await expect(hot).rejects.toMatchObject({ status: 400 });
  });
}

function describeAborts({ id: model }: Way, { slots, endless }: BehindOptions, world: () => World): void {
  const begin = (prompt: string, stream = true) =>
    world().gateway.ask("/v1/completions", { model, prompt, stream, max_tokens: 4_000, ...endless });

  /** From the client's leaving until the engine itself says that it works for nobody but `left`. */
  async function stopMs(leave: () => void, left: number): Promise<number> {
    const leftMs = performance.now();
    leave();
    const options = { timeout: stopTimeoutMs, interval: 5 };
    await expect.poll(() => world().engine.working(), options).toBe(left);
    return performance.now() - leftMs;
  }

  async function works(count: number): Promise<void> {
    await expect.poll(() => world().engine.working(), { timeout: 20_000, interval: 5 }).toBe(count);
  }

  /** Aborts one after the other, and tells how long each took. */
  async function abortsIn(phase: string, abort: (at: number) => Promise<number>): Promise<number[]> {
    const latencies: number[] = [];
    for (let at = 0; at < abortsEach; at++) latencies.push(await abort(at));
    const [p50, p99] = [quantile(latencies, 0.5), quantile(latencies, 0.99)];
    console.log(`${model}, ${abortsEach} aborts in ${phase}: p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms`);
    return latencies;
  }

  const inFlight = () => world().gateway.gauge("weir_requests_in_flight");

  test(
    "clients that leave stop it in decode",
    async () => {
      const latencies = await abortsIn("decode", async (at) => {
        const client = begin(`tell me all of it ${at}`, at % 2 === 0);
        await works(1);
        await delay((at * 7) % 50);
        return await stopMs(() => client.leave(at % 3 === 0 ? "reset" : "close"), 0);
      });
      expect(latencies).toHaveLength(abortsEach);
      await expect.poll(inFlight).toBe(0);
    },
    abortsTimeoutMs,
  );

  test(
    "clients that leave stop it in prefill",
    async () => {
      const latencies = await abortsIn("prefill", async (at) => {
        // As many tokens as fit, new ones each time.
        const client = begin(`${at} ${"river ".repeat(1_500)}`);
        await works(1);
        return await stopMs(() => client.leave(), 0);
      });
      expect(latencies).toHaveLength(abortsEach);
      await expect.poll(inFlight).toBe(0);
    },
    abortsTimeoutMs,
  );

  test(
    "clients that leave are taken out of its queue",
    async () => {
      let busy: ReturnType<typeof begin>[] = [];
      const letGo = async () => {
        for (const client of busy) client.leave();
        await works(0);
      };
      const latencies = await abortsIn("queue", async (at) => {
        if (at % wave === 0) {
          await letGo();
          busy = Array.from({ length: slots }, (_, slot) => begin(`busy ${at} ${slot}`));
          await works(slots);
        }
        const client = begin(`waiting ${at}`);
        await works(slots + 1);
        expect(client.text).toBe("");
        return await stopMs(() => client.leave(at % 3 === 0 ? "reset" : "close"), slots);
      });
      expect(latencies).toHaveLength(abortsEach);
      await letGo();
      await expect.poll(inFlight).toBe(0);
    },
    abortsTimeoutMs,
  );
}

function describeDeath({ slots, endless, ways }: BehindOptions, world: () => World): void {
  test("its death ends what it has begun to answer with one error; what waits in it is answered by the other replica", async () => {
    const { engine, gateway } = world();
    const models = ways.map(({ id }) => id);
    const ask = (at: number, more: object) =>
      gateway.ask("/v1/completions", {
        model: models[at % models.length],
        prompt: `go on ${at}`,
        stream: true,
        ...more,
      });
    const decoding = Array.from({ length: slots }, (_, at) => ask(at, { max_tokens: 7_000, ...endless }));
    await expect.poll(() => decoding.every(({ text }) => text.includes('"text"')), { timeout: 20_000 }).toBe(true);
    const waiting = Array.from({ length: 6 }, (_, at) =>
      ask(at, { max_tokens: 16, temperature: 0, stream: at % 2 === 0 }),
    );
    await expect.poll(() => engine.working(), { timeout: 20_000 }).toBe(slots + 6);
    world().openSpare();
    await expect.poll(() => world().spareIsUp(), { timeout: 30_000 }).toBe(true);
    expect(await engine.working()).toBe(slots + 6);
    await engine.kill();

    for (const client of decoding) {
      const reply = await client.done(30_000);
      expect(reply?.status).toBe(200);
      expect(client.text.match(/"error"/g)).toHaveLength(1);
      expect(client.text).toMatch(/upstream_(unavailable|truncated|error)/);
    }
    for (const client of waiting) {
      const reply = await client.done(30_000);
      expect([reply?.status, client.text.includes('"error"')]).toEqual([200, false]);
    }
    const retried = () =>
      gateway.generations().filter(({ attempts }) => attempts.length === 2 && attempts[1]?.replica.endsWith("-spare"));
    await expect.poll(() => retried().length, { timeout: 5_000 }).toBe(6);
    expect(await gateway.gauge("weir_requests_in_flight")).toBe(0);

    const { client } = world();
    for (const model of models)
      expect(
        (await client.completions.create({ model, prompt: "and now", max_tokens: 4 })).usage?.completion_tokens,
      ).toBe(4);
  }, 120_000);
}
