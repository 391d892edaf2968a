import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import {
  GRPCInferenceService,
  type ModelInferRequest,
  ModelInferRequestSchema,
  type ModelInferResponseSchema,
  type ModelMetadataResponseSchema,
  ModelStreamInferResponseSchema,
} from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { ModelConfigSchema } from "../../gen/ts/engine/triton/model_config_pb.ts";
import { answers, bytesOf, type FakeCall, type FakeGrpc, startFakeGrpc } from "./fake-grpc.ts";

/** A model of the fake. */
export interface FakeModel {
  readonly metadata: MessageInitShape<typeof ModelMetadataResponseSchema>;
  readonly config: MessageInitShape<typeof ModelConfigSchema>;
  readonly ready?: boolean;
}

type StreamResponse = MessageInitShape<typeof ModelStreamInferResponseSchema>;

/** One inference, in the hands of the test. */
export interface FakeInference {
  readonly request: ModelInferRequest;
  readonly call: FakeCall;
  /** Resolves when the client cancels or goes away. */
  readonly cancelled: Promise<void>;
  /** Sends a response, or bytes that may be none. */
  send(response: StreamResponse | Uint8Array): boolean;
  /** Ends the call: in order, or with a status. */
  end(code?: status, details?: string): void;
}

export interface FakeTritonOptions {
  readonly models?: Readonly<Record<string, FakeModel>>;
  /** Answers ModelStreamInfer. */
  infer?(inference: FakeInference): void;
  /** Answers ModelInfer. */
  inferOnce?(request: ModelInferRequest): MessageInitShape<typeof ModelInferResponseSchema>;
}

/** A KServe v2 gRPC server whose every message the test decides. */
export interface FakeTriton extends FakeGrpc {
  readonly inferences: readonly FakeInference[];
}

export async function startFakeTriton(options: FakeTritonOptions = {}): Promise<FakeTriton> {
  const inferences: FakeInference[] = [];
  const { modelStreamInfer } = GRPCInferenceService.method;
  const engine = await startFakeGrpc((call) => {
    if (!call.path.endsWith(`/${modelStreamInfer.name}`)) return answerQuestion(call, options);
    const inference = inferenceOf(call);
    inferences.push(inference);
    options.infer?.(inference);
  });
  return { ...engine, inferences };
}

function answerQuestion(call: FakeCall, { models = {}, inferOnce }: FakeTritonOptions): void {
  const { method } = GRPCInferenceService;
  const index = Object.keys(models).map((name) => ({ name, version: "1", state: "READY" }));
  const of = <A>(name: string, tell: (model: FakeModel) => A) => {
    const model = models[name];
    return model ? tell(model) : status.NOT_FOUND;
  };
  const known =
    answers(call, method.serverLive, () => ({ live: true })) ||
    answers(call, method.serverMetadata, () => ({ name: "fake triton", version: "1" })) ||
    answers(call, method.repositoryIndex, () => ({ models: index })) ||
    answers(call, method.modelMetadata, ({ name }) => of(name, (model) => ({ name, ...model.metadata }))) ||
    answers(call, method.modelConfig, ({ name }) => of(name, (model) => ({ config: { name, ...model.config } }))) ||
    answers(call, method.modelReady, ({ name }) => of(name, ({ ready = true }) => ({ ready }))) ||
    answers(call, method.modelInfer, (request) => inferOnce?.(request) ?? status.UNIMPLEMENTED);
  if (!known) call.end(status.UNIMPLEMENTED, "Method not found");
}

function inferenceOf(call: FakeCall): FakeInference {
  return {
    request: fromBinary(ModelInferRequestSchema, call.request),
    call,
    cancelled: call.cancelled,
    send: (response) =>
      call.send(response instanceof Uint8Array ? response : bytesOf(ModelStreamInferResponseSchema, response)),
    end: (code = status.OK, details = "") => call.end(code, details),
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
