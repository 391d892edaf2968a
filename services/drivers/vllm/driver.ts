import { clone } from "@bufbuild/protobuf";
import { Dialect, Feature, type ReplicaModel, ReplicaModelSchema } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Attempt, Driver, DriverKind, ProbeResult } from "../driver.ts";
import { grpcDriver } from "../grpc/driver.ts";
import { openaiDriver } from "../openai/driver.ts";
import type { UnaryDriver } from "../unary.ts";
import { startGeneration } from "./generation.ts";
import type { VllmInterface } from "./interface.ts";
import { isVllm, probeVllm } from "./probe.ts";

const overGrpc = grpcDriver<VllmInterface>({
  dialect: Dialect.VLLM,
  detect: isVllm,
  probe: probeVllm,
  generate: startGeneration,
});

/**
 * vLLM's own gRPC. Prompts go over it; what it lacks (conversations, tools, log probabilities with texts, embeddings, rankings, counts of tokens, gauges) goes
 * over HTTP, if it is known where the same server serves that.
 */
export const vllmDriver: DriverKind = {
  ...overGrpc,
  open(target) {
    const grpc = overGrpc.open(target);
    return target.httpUrl === undefined ? grpc : withHttp(grpc, openaiDriver.open({ ...target, url: target.httpUrl }));
  },
};

function withHttp(grpc: Driver, http: Driver): Driver {
  const { embed, rerank, countTokens } = http;
  const unary: UnaryDriver = {
    ...(embed && { embed }),
    ...(rerank && { rerank }),
    ...(countTokens && { countTokens }),
  };
  return {
    ...unary,
    dialect: Dialect.VLLM,
    generate: (attempt, sink) => (goesOverHttp(attempt) ? http : grpc).generate(attempt, sink),
    async probe(signal) {
      return merged(...(await Promise.all([grpc.probe(signal), http.probe(signal)])));
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([grpc[Symbol.asyncDispose](), http[Symbol.asyncDispose]()]);
    },
  };
}

function goesOverHttp({ request, prompt }: Attempt): boolean {
  const { input, logprobs, echo } = request;
  return (input.case === "conversation" && prompt === undefined) || logprobs !== undefined || echo;
}

/** The front end that has both refuses several choices over either. */
const lacking: readonly Feature[] = [Feature.CHOICES, Feature.BEST_OF];

/** What gRPC says of a model, with what it can do over HTTP too; and the load, which only HTTP tells. */
function merged(grpc: ProbeResult, http: ProbeResult): ProbeResult {
  const models = grpc.models.map((model): ReplicaModel => {
    const same = http.models.find(({ engineModel }) => engineModel === model.engineModel);
    if (!same) return model;
    const both = clone(ReplicaModelSchema, model);
    const more = same.features.filter((feature) => !lacking.includes(feature));
    both.features = [...new Set([...model.features, ...more])];
    both.ready = model.ready && same.ready;
    return both;
  });
  return { engine: grpc.engine, models, load: http.load };
}
