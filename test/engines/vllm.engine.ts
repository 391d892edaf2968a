import { describe, expect, test } from "vitest";
import { Dialect, Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { detectDialect, openDriver } from "../../services/drivers/registry.ts";
import { attemptAt, run, targetAt } from "../wire/attempts.ts";
import { type Asked, describeDriver, type Shape, type SuiteEngine } from "../wire/driver-suite.ts";
import { requireEngines } from "./availability.ts";
import { type LlamaCppServer, startLlamaCpp } from "./llamacpp/server.ts";
import { startVllm } from "./vllm/server.ts";
import { readyTimeoutMs, type VllmProcess } from "./vllm-process.ts";

const gate = await requireEngines("vllm", "llamacpp");

const slots = 2;

const shapes: Readonly<Partial<Record<Shape, Asked>>> = {
  short: { prompt: "tell me of the river", maxTokens: 16, ignoreEos: true },
  slow: { prompt: "tell me all of it", maxTokens: 7_500, ignoreEos: true },
  overlong: { prompt: "word ".repeat(9_000), maxTokens: 16 },
};

/** Token ids, which no tokenizer stands between. */
const greedyPrompts = [[781, 50, 863], [100, 200, 300, 400], [5], Array.from({ length: 64 }, (_, at) => 3 + at * 13)];

/** Two dozen requests at two places, on a busy machine. */
const patient = { firstEventMs: 90_000 };

type Way = "grpc" | "http" | "both";

/** One server for all ways to it: it takes a minute to start, and the suites kill it. */
let server: VllmProcess | undefined;

async function startServer(way: Way): Promise<SuiteEngine> {
  server ??= await startVllm(slots);
  const running = server;
  await using cleanup = new AsyncDisposableStack();
  const target =
    way === "http"
      ? targetAt(running.httpUrl, patient)
      : targetAt(running.grpcUrl, way === "both" ? { ...patient, httpUrl: running.httpUrl } : patient);
  const driver = cleanup.use(openDriver(way === "http" ? Dialect.OPENAI : Dialect.VLLM, target));
  const [found] = (await driver.probe(AbortSignal.timeout(10_000))).models;
  if (!found) throw new Error("the probe found no model");
  // Over HTTP the probe cannot tell which of vLLM's front ends it is; this one refuses several choices.
  const features = found.features.filter((feature) => feature !== Feature.CHOICES);
  const model = { ...found, features };
  const owned = cleanup.move();
  return {
    driver,
    model,
    slots,
    working: () => running.working(),
    async kill() {
      server = undefined;
      await running.kill();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

describe.skipIf(gate.skip)(gate.title("vLLM"), () => {
  describeDriver("over its own gRPC", { shapes, cancels: true }, () => startServer("grpc"));
  describeDriver("over its own gRPC and HTTP", { shapes, cancels: true }, () => startServer("both"));
  describeDriver("over OpenAI's HTTP", { shapes, cancels: true }, () => startServer("http"));

  test(
    "its gRPC is found by asking, and says the same as its HTTP, and as llama.cpp with the same weights",
    async () => {
      server ??= await startVllm(slots);
      await using running = server;
      await using llama = await startLlamaCpp();
      expect(await detectDialect(targetAt(running.grpcUrl), AbortSignal.timeout(10_000))).toBe(Dialect.VLLM);
      const engines = [
        [Dialect.VLLM, running.grpcUrl],
        [Dialect.OPENAI, running.httpUrl],
        [Dialect.OPENAI, llama.url],
      ] as const;
      for (const ids of greedyPrompts) {
        const maxTokens = await certainTokens(llama, ids);
        expect(maxTokens).toBeGreaterThan(3);
        const texts: string[] = [];
        for (const [dialect, url] of engines) {
          await using driver = openDriver(dialect, targetAt(url));
          const [model] = (await driver.probe(AbortSignal.timeout(10_000))).models;
          const request = { input: { case: "tokenIds" as const, value: { ids } }, sampling: { temperature: 0 } };
          if (model) texts.push((await run(driver, attemptAt(model, request, { maxTokens }))).text());
        }
        expect(texts[0]).not.toBe("");
        expect(texts, `of the tokens ${ids.join()}`).toEqual([texts[0], texts[0], texts[0]]);
      }
    },
    readyTimeoutMs + 60_000,
  );
});

const greedyTokensMax = 24;
/** In nats. Random weights give ties that the last bit decides. */
const tie = 0.01;

/** How many greedy tokens follow before the two likeliest are as good as equal. */
async function certainTokens({ url }: LlamaCppServer, ids: readonly number[]): Promise<number> {
  const body = JSON.stringify({ prompt: ids, max_tokens: greedyTokensMax, temperature: 0, logprobs: 2 });
  const answer: { choices: { logprobs: { content: { top_logprobs: { logprob: number }[] }[] } }[] } = JSON.parse(
    await (await fetch(`${url}/v1/completions`, { method: "POST", body })).text(),
  );
  const steps = answer.choices[0]?.logprobs.content ?? [];
  const at = steps.findIndex(({ top_logprobs: [first, second] }) => {
    return (first?.logprob ?? 0) - (second?.logprob ?? Number.NEGATIVE_INFINITY) < tie;
  });
  return at < 0 ? steps.length : at;
}
