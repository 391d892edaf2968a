import type { MessageInitShape } from "@bufbuild/protobuf";
import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import {
  GRPCInferenceService,
  type ModelInferRequest,
  ModelInferRequestSchema,
  type ModelInferResponse,
  ModelInferResponseSchema,
  type ModelStreamInferResponse,
  ModelStreamInferResponseSchema,
} from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import { deserializer, serializer } from "../../services/runtime/grpc-wire.ts";
import { inferRequest, isFinal, type TensorValues, textsOf } from "../engines/triton/client.ts";

export type InferStream = ClientDuplexStream<
  MessageInitShape<typeof ModelInferRequestSchema>,
  ModelStreamInferResponse
>;

/** Calls to a Triton server as they are on the wire: what no driver would send, and all that comes. */
export interface TritonCalls extends Disposable {
  stream(options?: { metadata?: Metadata; deadlineMs?: number }): InferStream;
  /** One request on a stream of its own, to the stream's end. */
  infer(request: ModelInferRequest): Promise<Drained>;
  modelInfer(request: ModelInferRequest): Promise<ModelInferResponse>;
  /** A question that carries nothing, or a name. The path is a method of KServe's, or of another service. */
  ask<O>(path: string, name: string, decode: (bytes: Buffer) => O): Promise<O>;
}

const service = `/${GRPCInferenceService.typeName}`;

/** Connects to grpc://host:port. */
export function callTriton(grpcUrl: string): TritonCalls {
  const client = new Client(grpcUrl.replace("grpc://", ""), credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  const unary = <I, O>(path: string, request: I, encode: (value: I) => Buffer, decode: (bytes: Buffer) => O) =>
    new Promise<O>((resolve, reject) => {
      client.makeUnaryRequest(path, encode, decode, request, (error, answer) =>
        error || answer === undefined ? reject(error ?? new Error("no answer")) : resolve(answer),
      );
    });
  const stream: TritonCalls["stream"] = ({ metadata = new Metadata(), deadlineMs } = {}) =>
    client.makeBidiStreamRequest(
      `${service}/ModelStreamInfer`,
      serializer(ModelInferRequestSchema),
      deserializer(ModelStreamInferResponseSchema),
      metadata,
      deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs },
    );
  return {
    stream,
    infer(request) {
      const call = stream();
      call.write(request);
      call.end();
      return drain(call);
    },
    modelInfer: (request) =>
      unary(
        `${service}/ModelInfer`,
        request,
        (value) => serializer(ModelInferRequestSchema)(value),
        deserializer(ModelInferResponseSchema),
      ),
    ask(path, name, decode) {
      // A text in field 1.
      const encode = () => Buffer.from(name === "" ? "" : `\n${String.fromCharCode(name.length)}${name}`);
      return unary(path.startsWith("/") ? path : `${service}/${path}`, name, encode, decode);
    },
    [Symbol.dispose]: () => client.close(),
  };
}

const unbatched: ReadonlySet<string> = new Set(["llmapi", "vllm_model"]);

/** A request as a driver would send it; `bare` leaves out the wish for an empty last response. */
export function requestFor(requestId: string, model: string, inputs: TensorValues, bare = false): ModelInferRequest {
  const request = inferRequest(model, inputs, { requestId, batched: !unbatched.has(model) });
  if (bare) request.parameters = {};
  return request;
}

/** All that a stream brought. */
export interface Drained {
  /** The code that it ended with. */
  readonly code: number;
  readonly messages: readonly ModelStreamInferResponse[];
  readonly responses: readonly ModelInferResponse[];
  readonly errors: readonly string[];
  readonly texts: readonly string[];
  /** Of each response, whether it says that it is the last. */
  readonly finals: readonly boolean[];
}

/** Reads a stream to its end. */
export async function drain(stream: InferStream): Promise<Drained> {
  const messages: ModelStreamInferResponse[] = [];
  const code = await new Promise<number>((resolve) => {
    stream.on("data", (message: ModelStreamInferResponse) => messages.push(message));
    stream.on("end", () => resolve(status.OK));
    stream.on("error", (error: ServiceError) => resolve(error.code));
  });
  const responses = messages.flatMap(({ inferResponse }) => (inferResponse ? [inferResponse] : []));
  return {
    code,
    messages,
    responses,
    errors: messages.map(({ errorMessage }) => errorMessage).filter((text) => text !== ""),
    texts: responses.flatMap((response) => textsOf(response, "text_output")),
    finals: responses.map((response) => isFinal(response)),
  };
}

/** The inputs of an ensemble or BLS model. */
export const tensorrt = (prompt: string, more: TensorValues = {}): TensorValues => ({
  text_input: prompt,
  max_tokens: 16,
  stream: true,
  exclude_input_in_output: true,
  ...more,
});

/** The inputs of Triton's vLLM backend. */
export const vllm = (prompt: string, sampling: object = {}, more: TensorValues = {}): TensorValues => ({
  text_input: prompt,
  stream: true,
  sampling_parameters: JSON.stringify({ max_tokens: 16, ...sampling }),
  return_finish_reason: true,
  return_num_input_tokens: true,
  return_num_output_tokens: true,
  ...more,
});
