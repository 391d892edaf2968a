import { GRPCInferenceService } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import { Health, HealthCheckResponse_ServingStatus } from "../../../gen/ts/grpc/health/v1/health_pb.ts";
import type { Engine } from "../engine.ts";
import { answerQuestion, createGrpcServer, type GrpcServer, type Refusal, registerMethod } from "../grpc/server.ts";
import type { OpenServer } from "../listener.ts";
import { createModels, type Models, unknownModel } from "./inference.ts";
import { configOf, type Model, metadataOf, modelsOf, type TensorrtSetup } from "./models.ts";
import { infer, streamInfer } from "./stream.ts";

/** Triton's side of the simulator. */
export interface TritonServerOptions extends TensorrtSetup {
  readonly engine: Engine;
  readonly host: string;
  readonly port: number;
  /** Ends the process, or everything of it that this simulator opened. */
  readonly crash: () => void;
}

const { method } = GRPCInferenceService;

/** Serves KServe v2 over gRPC as Triton does, and gRPC's health check. What it does not know is UNIMPLEMENTED. */
export function openTritonServer(options: TritonServerOptions): Promise<OpenServer> {
  const models = createModels(modelsOf(options), options.engine);
  const server = createGrpcServer();
  registerQuestions(server, models.byName);
  registerInference(server, models, options.crash);
  return server.open(options.host, options.port);
}

function registerInference({ grpc, cut }: GrpcServer, models: Models, crash: () => void): void {
  const surroundings = { models, cut, crash };
  registerMethod(grpc, method.modelInfer, (call: Parameters<typeof infer>[1], reply: Parameters<typeof infer>[2]) =>
    infer(surroundings, call, reply),
  );
  registerMethod(grpc, method.modelStreamInfer, (call: Parameters<typeof streamInfer>[1]) =>
    streamInfer(surroundings, call),
  );
}

function registerQuestions({ grpc }: GrpcServer, models: ReadonlyMap<string, Model>): void {
  answerQuestion(grpc, method.serverLive, () => ({ live: true }));
  answerQuestion(grpc, method.serverReady, () => ({ ready: true }));
  // Of a model that it never heard of it says no, and no error.
  answerQuestion(grpc, method.modelReady, ({ name }) => ({ ready: models.has(name) }));
  const server = { name: "triton", version: "2.51.0", extensions: ["model_repository"] };
  answerQuestion(grpc, method.serverMetadata, () => server);
  answerQuestion(grpc, method.modelMetadata, ({ name }) => ofModel(models, name, metadataOf));
  answerQuestion(grpc, method.modelConfig, ({ name }) =>
    ofModel(models, name, (model) => ({ config: configOf(model) })),
  );
  answerQuestion(grpc, method.repositoryIndex, () => ({
    models: [...models.keys()].map((name) => ({ name, version: "1", state: "READY" })),
  }));
  answerQuestion(grpc, Health.method.check, () => ({ status: HealthCheckResponse_ServingStatus.SERVING }));
}

function ofModel<A extends object>(
  models: ReadonlyMap<string, Model>,
  name: string,
  tell: (model: Model) => A,
): A | Refusal {
  const model = models.get(name);
  return model === undefined ? unknownModel(name) : tell(model);
}
