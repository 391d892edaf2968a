import { describe } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { targetAt } from "../wire/attempts.ts";
import { type Asked, describeDriver, type Shape, type SuiteEngine } from "../wire/driver-suite.ts";
import { requireEngines } from "./availability.ts";
import { openRequests } from "./triton/event-log.ts";
import type { TritonModel } from "./triton/run-folder.ts";
import { startTriton } from "./triton/server.ts";

const gate = await requireEngines("triton");

const slots = 4;
const parameters = { tensorrt_llm: { slots: String(slots) }, vllm_model: { slots: String(slots) } };

const shapes: Readonly<Record<Shape, Asked>> = {
  short: { prompt: "[[tokens=12]] tell me of the river", maxTokens: 16 },
  slow: { prompt: "[[tokens=2000]] [[delay_ms=20]] tell me all of it", maxTokens: 4_000 },
  prefill: { prompt: "[[prefill_ms=3000]] [[tokens=50]] think", maxTokens: 64 },
  overlong: { prompt: "x".repeat(9_000), maxTokens: 16 },
  failing: { prompt: "[[error_after=3]] tell me", maxTokens: 16 },
};

/** A server with one interface, whose models log what they do. */
async function startInterface(name: string, models: readonly TritonModel[]): Promise<SuiteEngine> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await startTriton({ models, parameters }));
  const driver = cleanup.use(openDriver(Dialect.TRITON, targetAt(`grpc://${server.grpcAddress}`)));
  const { models: found } = await driver.probe(AbortSignal.timeout(10_000));
  const model = found.find((candidate) => candidate.engineModel === name);
  if (!model) throw new Error(`the probe did not find ${name}: ${found.map((one) => one.engineModel).join(", ")}`);
  const generators = new Set(["tensorrt_llm", "vllm_model"]);
  const owned = cleanup.move();
  return {
    driver,
    model,
    slots,
    ask: (shape) => shapes[shape],
    working: async () => openRequests(await server.log()).filter((event) => generators.has(event.model)).length,
    kill: () => server.kill(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const steps: readonly TritonModel[] = ["preprocessing", "tensorrt_llm", "postprocessing"];

describe.skipIf(gate.skip)(gate.title("the triton driver"), () => {
  describeDriver("at an ensemble", { counts: true, cancels: true, leavesQueue: true }, () =>
    startInterface("ensemble", [...steps, "ensemble"]),
  );
  describeDriver("at a BLS model", { counts: true, cancels: false, leavesQueue: false }, () =>
    startInterface("tensorrt_llm_bls", [...steps, "tensorrt_llm_bls"]),
  );
  describeDriver("at the vLLM backend", { counts: true, cancels: true, leavesQueue: true }, () =>
    startInterface("vllm_model", ["vllm_model"]),
  );
});
