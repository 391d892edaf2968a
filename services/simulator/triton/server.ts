import { createServer } from "node:net";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import { GRPCInferenceService } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import { Health, HealthCheckResponse_ServingStatus } from "../../../gen/ts/grpc/health/v1/health_pb.ts";
import type { Engine } from "../engine.ts";
import { listen, type OpenServer, trackSockets } from "../listener.ts";
import { createModels, type Models, unknownModel } from "./inference.ts";
import { configOf, type Model, metadataOf, modelsOf } from "./models.ts";
import type { Refusal } from "./reply.ts";
import { infer, streamInfer } from "./stream.ts";
import { deserializer, serializer } from "./wire.ts";

/** Triton's side of the simulator. */
export interface TritonServerOptions {
  readonly engine: Engine;
  readonly host: string;
  readonly port: number;
  /** Whether the TensorRT-LLM models stream. */
  readonly decoupled: boolean;
  /** Ends the process, or everything of it that this simulator opened. */
  readonly crash: () => void;
}

const { method } = GRPCInferenceService;

/** Serves KServe v2 over gRPC as Triton does, and gRPC's health check. What it does not know is UNIMPLEMENTED. */
export async function openTritonServer(options: TritonServerOptions): Promise<OpenServer> {
  const models = createModels(modelsOf(options.decoupled), options.engine);
  const grpc = new Server({ "grpc.max_receive_message_length": 2 ** 31 - 1, "grpc.max_send_message_length": -1 });
  // grpc-js keeps its connections to itself; ours can be reset, as a crash and a cut do.
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  const server = createServer({ noDelay: true }, (socket) => injector.injectConnection(socket));
  const sockets = trackSockets(server);
  registerQuestions(grpc, models.byName);
  registerInference(grpc, models, (peer) => sockets.reset(peer), options.crash);
  const port = await listen(server, options.host, options.port);
  return {
    url: `grpc://${options.host}:${port}`,
    reset: () => {
      server.close();
      sockets.reset();
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      injector.destroy();
      grpc.forceShutdown();
      sockets.destroy();
      await closed;
    },
  };
}

function registerInference(grpc: Server, models: Models, cut: (peer: string) => void, crash: () => void): void {
  const surroundings = { models, cut, crash };
  const { modelInfer, modelStreamInfer } = method;
  grpc.register<MessageShape<typeof modelInfer.input>, MessageInitShape<typeof modelInfer.output>>(
    pathOf(modelInfer),
    (call: Parameters<typeof infer>[1], reply: Parameters<typeof infer>[2]) => infer(surroundings, call, reply),
    serializer(modelInfer.output),
    deserializer(modelInfer.input),
    "unary",
  );
  grpc.register<MessageShape<typeof modelStreamInfer.input>, MessageInitShape<typeof modelStreamInfer.output>>(
    pathOf(modelStreamInfer),
    (call: Parameters<typeof streamInfer>[1]) => streamInfer(surroundings, call),
    serializer(modelStreamInfer.output),
    deserializer(modelStreamInfer.input),
    "bidi",
  );
}

function registerQuestions(grpc: Server, models: ReadonlyMap<string, Model>): void {
  answer(grpc, method.serverLive, () => ({ live: true }));
  answer(grpc, method.serverReady, () => ({ ready: true }));
  // It says yes of models that it never heard of.
  answer(grpc, method.modelReady, () => ({ ready: true }));
  answer(grpc, method.serverMetadata, () => ({ name: "triton", version: "2.51.0", extensions: ["model_repository"] }));
  answer(grpc, method.modelMetadata, ({ name }) => ofModel(models, name, metadataOf));
  answer(grpc, method.modelConfig, ({ name }) => ofModel(models, name, (model) => ({ config: configOf(model) })));
  answer(grpc, method.repositoryIndex, () => ({
    models: [...models.keys()].map((name) => ({ name, version: "1", state: "READY" })),
  }));
  answer(grpc, Health.method.check, () => ({ status: HealthCheckResponse_ServingStatus.SERVING }));
}

function ofModel<A extends object>(
  models: ReadonlyMap<string, Model>,
  name: string,
  tell: (model: Model) => A,
): A | Refusal {
  const model = models.get(name);
  return model === undefined ? unknownModel(name) : tell(model);
}

function answer<I extends DescMessage, O extends DescMessage>(
  grpc: Server,
  question: DescMethod & { readonly input: I; readonly output: O },
  handle: (request: MessageShape<I>) => MessageInitShape<O> | Refusal,
): void {
  grpc.register<MessageShape<I>, MessageInitShape<O>>(
    pathOf(question),
    (call: ServerUnaryCall<MessageShape<I>, MessageInitShape<O>>, reply: sendUnaryData<MessageInitShape<O>>) => {
      const answered = handle(call.request);
      if (isRefusal(answered)) reply({ code: answered.code, details: answered.text });
      else reply(null, answered);
    },
    serializer(question.output),
    deserializer(question.input),
    "unary",
  );
}

function isRefusal(answered: object): answered is Refusal {
  return "code" in answered && "text" in answered;
}

function pathOf(of: DescMethod): string {
  return `/${of.parent.typeName}/${of.name}`;
}
