import { afterAll, describe } from "vitest";
import { Dialect, Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { createTokenizers } from "../../services/drivers/tokens/tokenizers.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import type { MannersName } from "../../services/simulator/openai/manners.ts";
import { endId, tokenizerFile } from "../../services/simulator/vocabulary.ts";
import { encodingDriver } from "../fakes/encoding-driver.ts";
import { startSimulatorProcess } from "../fakes/simulator-process.ts";
import { tokenizerSource } from "../fakes/tokenizer-files.ts";
import { targetAt } from "./attempts.ts";
import { type Asked, describeDriver, type Shape, type SuiteEngine } from "./driver-suite.ts";

const slots = 4;

const tokenizers = createTokenizers({
  clock: systemClock,
  unusable: (path, problem) => {
    throw new Error(`${path}: ${problem}`);
  },
});
afterAll(() => tokenizers[Symbol.asyncDispose]());

const shapes: Readonly<Record<Shape, Asked>> = {
  short: { prompt: "tell me of the river", maxTokens: 16 },
  slow: { prompt: "[[sim length=1500]] [[sim drip ms=20]] tell me all of it", maxTokens: 1_500 },
  prefill: { prompt: "[[sim delay ms=10000]] think", maxTokens: 64 },
  overlong: { prompt: "x".repeat(9_000), maxTokens: 16 },
  failing: { prompt: "[[sim error after=3]] tell me", maxTokens: 16 },
};

const urls = {
  [Dialect.OPENAI]: "httpUrl",
  [Dialect.TRITON]: "grpcUrl",
  [Dialect.TGIS]: "tgisUrl",
  [Dialect.VLLM]: "vllmUrl",
  [Dialect.TGI]: "tgiUrl",
  [Dialect.ANTHROPIC]: "anthropicUrl",
} as const;

type SimulatedDialect = keyof typeof urls;

interface Wanted {
  readonly withHttp?: boolean;
  readonly without?: readonly Feature[];
  /** Whose manners OpenAI's HTTP has. */
  readonly as?: MannersName;
  /** More of the simulator's. */
  readonly flags?: readonly string[];
}

/** A process, because the suite kills it. */
async function startModel(
  dialect: SimulatedDialect,
  name: string,
  { withHttp = false, without = [], as = "vllm", flags: more = [] }: Wanted = {},
): Promise<SuiteEngine> {
  await using cleanup = new AsyncDisposableStack();
  const speed = ["--slots", String(slots), "--decode-ms", "2", "--prefill-ms", "0", "--context", "2000"];
  const flags = [...speed, "--openai-as", as, ...more];
  const simulator = cleanup.use(await startSimulatorProcess(flags));
  const target = { engineKey: "good-key", ...(withHttp ? { httpUrl: simulator.httpUrl } : {}) };
  const opened = cleanup.use(openDriver(dialect, targetAt(simulator[urls[dialect]], target)));
  const { models } = await opened.probe(AbortSignal.timeout(10_000));
  const model = models.find((candidate) => candidate.engineModel === name);
  if (model) model.features = model.features.filter((feature) => !without.includes(feature));
  if (!model) throw new Error(`the probe did not find ${name}: ${models.map((one) => one.engineModel).join(", ")}`);
  const driver = model.needsTokenizer
    ? encodingDriver(opened, tokenizers.of(tokenizerSource(tokenizerFile(), [endId])))
    : opened;
  if (model.needsTokenizer) model.features.push(Feature.PROMPT);
  const owned = cleanup.move();
  return {
    driver,
    model,
    slots,
    working: async () => {
      const open = new Set<string>();
      for (const { id, event } of simulator.record()) {
        if (event === "received") open.add(id);
        else if (event !== "started" && event !== "produced") open.delete(id);
      }
      return open.size;
    },
    kill: () => simulator.kill("SIGKILL"),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

describe("the drivers at the simulator", () => {
  describeDriver("over OpenAI's HTTP", { shapes, cancels: true }, () => startModel(Dialect.OPENAI, "weir-sim"));
  // A stream of its that fails breaks off, and the name of a model says nothing to it.
  const { failing: _, ...ofTrtllm } = shapes;
  describeDriver("at trtllm-serve", { shapes: ofTrtllm, cancels: true, knowsModels: false }, () =>
    startModel(Dialect.OPENAI, "weir-sim", { as: "trtllm" }),
  );
  describeDriver("at trtllm-serve's chats", { shapes: ofTrtllm, cancels: true, knowsModels: false }, () =>
    startModel(Dialect.OPENAI, "weir-sim", { as: "trtllm", without: [Feature.PROMPT] }),
  );
  describeDriver("at an ensemble", { shapes, cancels: true }, () => startModel(Dialect.TRITON, "ensemble"));
  describeDriver("at a core model", { shapes, cancels: true, lacks: ["minP"] }, () =>
    startModel(Dialect.TRITON, "tensorrt_llm"),
  );
  describeDriver("at a BLS model", { shapes, cancels: false }, () => startModel(Dialect.TRITON, "tensorrt_llm_bls"));
  const older = { flags: ["--no-counts"] };
  describeDriver("at an older ensemble", { shapes, cancels: true, counts: false }, () =>
    startModel(Dialect.TRITON, "ensemble", older),
  );
  describeDriver("at an older BLS model", { shapes, cancels: false, counts: false }, () =>
    startModel(Dialect.TRITON, "tensorrt_llm_bls", older),
  );
  describeDriver("at the LLM API", { shapes, cancels: true, counts: false, lacks: ["minP"] }, () =>
    startModel(Dialect.TRITON, "llmapi"),
  );
  describeDriver("at the vLLM backend", { shapes, cancels: true }, () => startModel(Dialect.TRITON, "vllm_model"));
  describeDriver("over vLLM's gRPC", { shapes, cancels: true }, () => startModel(Dialect.VLLM, "weir-sim"));
  describeDriver("over vLLM's gRPC and HTTP", { shapes, cancels: true }, () =>
    startModel(Dialect.VLLM, "weir-sim", { withHttp: true }),
  );
  describeDriver(
    "at TGIS",
    { shapes, cancels: true, knowsModels: false, lacks: ["frequencyPenalty", "presencePenalty"] },
    () => startModel(Dialect.TGIS, "tgis"),
  );
  const ofTgi = { shapes, cancels: true, knowsModels: false };
  describeDriver("at TGI", { ...ofTgi, lacks: ["presencePenalty", "minP"] }, () => startModel(Dialect.TGI, "weir-sim"));
  describeDriver("at TGI's chats", { ...ofTgi, lacks: ["presencePenalty", "minP", "topK"] }, () =>
    startModel(Dialect.TGI, "weir-sim", { without: [Feature.PROMPT] }),
  );
  describeDriver(
    "at Anthropic's API",
    { shapes, cancels: true, lacks: ["frequencyPenalty", "presencePenalty", "minP", "seed"] },
    () => startModel(Dialect.ANTHROPIC, "weir-sim"),
  );
});
