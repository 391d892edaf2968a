import { create, type DescMethod, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  type handleBidiStreamingCall,
  type handleUnaryCall,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type status as Status,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import {
  GRPCInferenceService,
  type ModelInferRequest,
  type ModelInferResponseSchema,
  type ModelMetadataResponseSchema,
  type ModelStreamInferResponseSchema,
} from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { ModelConfigSchema } from "../../gen/ts/engine/triton/model_config_pb.ts";

/** A model of the fake. */
export interface FakeModel {
  readonly metadata: MessageInitShape<typeof ModelMetadataResponseSchema>;
  readonly config: MessageInitShape<typeof ModelConfigSchema>;
  readonly ready?: boolean;
}

/** Any unary request; what it has no field for is not read. */
type NamedRequest = ModelInferRequest & { readonly name: string };

type Init = Record<string, unknown>;

type StreamResponse = MessageInitShape<typeof ModelStreamInferResponseSchema>;

/** One inference, in the hands of the test. */
export interface FakeInference {
  readonly request: ModelInferRequest;
  /** Resolves when the client cancels or goes away. */
  readonly cancelled: Promise<void>;
  /** Sends a response, or bytes that may be none. */
  send(response: StreamResponse | Buffer): boolean;
  /** Ends the call: in order, or with a status. */
  end(code?: Status, details?: string): void;
  /** Runs when the client reads again after a `send` that gave false. */
  onDrain(run: () => void): void;
}

export interface FakeTritonOptions {
  readonly models?: Readonly<Record<string, FakeModel>>;
  /** Answers ModelStreamInfer. */
  infer?(inference: FakeInference): void;
  /** Answers ModelInfer. */
  inferOnce?(request: ModelInferRequest): MessageInitShape<typeof ModelInferResponseSchema>;
}

/** A KServe v2 gRPC server whose every message the test decides. */
export interface FakeTriton extends AsyncDisposable {
  readonly url: string;
  readonly inferences: FakeInference[];
  /** Ends all connections at once, as a dying process does. */
  die(): void;
}

export async function startFakeTriton(options: FakeTritonOptions = {}): Promise<FakeTriton> {
  const server = new Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
  const inferences: FakeInference[] = [];
  const { method } = GRPCInferenceService;
  const definitions: Record<string, MethodDefinition<Init, Init>> = {};
  const implementation: UntypedServiceImplementation = {};
  const add = (described: DescMethod, handler: UntypedServiceImplementation[string]) => {
    definitions[described.name] = definitionOf(described);
    implementation[described.name] = handler;
  };
  for (const [described, reply] of unaryReplies(options)) {
    const handler: handleUnaryCall<NamedRequest, object> = (call, done) => {
      const answer = reply(call.request);
      if (answer) done(null, answer);
      else done({ code: status.NOT_FOUND, details: "Request for unknown model" });
    };
    add(described, handler);
  }
  const stream: handleBidiStreamingCall<ModelInferRequest, StreamResponse | Buffer> = (call) => {
    call.on("data", (request: ModelInferRequest) => {
      const inference = inferenceOf(call, request);
      inferences.push(inference);
      options.infer?.(inference);
    });
  };
  add(method.modelStreamInfer, stream);
  server.addService(definitions, implementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return {
    url: `grpc://127.0.0.1:${port}`,
    inferences,
    die: () => server.forceShutdown(),
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
}

function unaryReplies(options: FakeTritonOptions): [DescMethod, (request: NamedRequest) => object | undefined][] {
  const { method } = GRPCInferenceService;
  const models = options.models ?? {};
  return [
    [method.serverLive, () => ({ live: true })],
    [method.serverMetadata, () => ({ name: "fake triton", version: "1" })],
    [
      method.repositoryIndex,
      () => ({ models: Object.keys(models).map((name) => ({ name, version: "1", state: "READY" })) }),
    ],
    [method.modelMetadata, ({ name }) => models[name] && { name, ...models[name].metadata }],
    [method.modelConfig, ({ name }) => models[name] && { config: { name, ...models[name].config } }],
    [method.modelReady, ({ name }) => ({ ready: models[name]?.ready ?? true })],
    [method.modelInfer, (request) => options.inferOnce?.(request)],
  ];
}

function definitionOf(method: DescMethod): MethodDefinition<Init, Init> {
  return {
    path: `/${GRPCInferenceService.typeName}/${method.name}`,
    requestStream: method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "bidi_streaming",
    requestSerialize: (value: Init) => Buffer.from(toBinary(method.input, create(method.input, value))),
    requestDeserialize: (bytes: Buffer) => fromBinary(method.input, bytes),
    responseSerialize: (value: Init) =>
      Buffer.isBuffer(value) ? value : Buffer.from(toBinary(method.output, create(method.output, value))),
    responseDeserialize: (bytes: Buffer) => fromBinary(method.output, bytes),
  };
}

function inferenceOf(
  call: ServerDuplexStream<ModelInferRequest, StreamResponse | Buffer>,
  request: ModelInferRequest,
): FakeInference {
  return {
    request,
    cancelled: new Promise((resolve) => call.on("cancelled", () => resolve())),
    send: (response) => call.write(response),
    end: (code = status.OK, details = "") => {
      if (code === status.OK) call.end();
      else call.emit("error", Object.assign(new Error(details), { code, details }));
    },
    onDrain: (run) => void call.once("drain", run),
  };
}

/** A response with one text, as the vLLM backend sends it. */
export function textResponse(
  id: string,
  text: string,
  more: { final?: boolean; finish?: string } = {},
): StreamResponse {
  const outputs = [{ name: "text_output", datatype: "BYTES", shape: [1n] }];
  const raw = [lengthPrefixed(text)];
  if (more.finish !== undefined) {
    outputs.push({ name: "finish_reason", datatype: "BYTES", shape: [1n] });
    raw.push(lengthPrefixed(more.finish));
  }
  return {
    inferResponse: {
      modelName: "fake",
      id,
      parameters: { triton_final_response: { parameterChoice: { case: "boolParam", value: more.final ?? false } } },
      outputs,
      rawOutputContents: raw,
    },
  };
}

/** A raw BYTES element. */
export function lengthPrefixed(text: string | Buffer): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

const input = (name: string, datatype: string) => ({ name, datatype, shape: [-1n] });

/** The vLLM backend's interface. */
export const vllmModel: FakeModel = {
  metadata: {
    inputs: [
      input("text_input", "BYTES"),
      input("stream", "BOOL"),
      input("sampling_parameters", "BYTES"),
      input("exclude_input_in_output", "BOOL"),
      input("return_finish_reason", "BOOL"),
      input("return_num_input_tokens", "BOOL"),
      input("return_num_output_tokens", "BOOL"),
    ],
    outputs: [input("text_output", "BYTES"), input("finish_reason", "BYTES")],
  },
  config: { maxBatchSize: 0, modelTransactionPolicy: { decoupled: true } },
};
