import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Client, type ClientReadableStream, credentials } from "@grpc/grpc-js";
import {
  ModelInferRequestSchema,
  type ModelInferResponse,
  ModelReadyRequestSchema,
  ModelReadyResponseSchema,
  type ModelStreamInferResponse,
  ModelStreamInferResponseSchema,
} from "../../../gen/ts/engine/triton/grpc_service_pb.ts";

/** A tensor's values decide its datatype: the name of a tensor that is not what `typeof` suggests is in `datatypes`. */
export type TensorValues = Record<string, string | string[] | number | boolean>;

export interface StreamOptions {
  requestId?: string;
  /** Tensors of models with a batch dimension are [1, n]; vllm_model's are [n]. Default true. */
  batched?: boolean;
  parameters?: MessageInitShape<typeof ModelInferRequestSchema>["parameters"];
}

export interface InferenceStream extends AsyncIterable<ModelStreamInferResponse> {
  cancel(): void;
}

/** A client as small as a test of the server itself needs, and independent of the product's driver. */
export interface TritonClient extends Disposable {
  modelReady(name: string): Promise<boolean>;
  infer(model: string, inputs: TensorValues, options?: StreamOptions): InferenceStream;
}

const service = "/inference.GRPCInferenceService";

export function createTritonClient(grpcAddress: string): TritonClient {
  const client = new Client(grpcAddress, credentials.createInsecure());
  return {
    modelReady: (name) =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          `${service}/ModelReady`,
          (request: MessageInitShape<typeof ModelReadyRequestSchema>) =>
            Buffer.from(toBinary(ModelReadyRequestSchema, create(ModelReadyRequestSchema, request))),
          (bytes) => fromBinary(ModelReadyResponseSchema, bytes),
          { name },
          (error, response) => (error ? reject(error) : resolve(response?.ready === true)),
        );
      }),
    infer: (model, inputs, options = {}) => {
      const request = inferRequest(model, inputs, options);
      const stream: ClientReadableStream<ModelStreamInferResponse> = client.makeServerStreamRequest(
        `${service}/ModelStreamInfer`,
        () => Buffer.from(toBinary(ModelInferRequestSchema, request)),
        (bytes) => fromBinary(ModelStreamInferResponseSchema, bytes),
        request,
      );
      const cancel = () => {
        // A stream that nobody reads any more throws its own cancellation otherwise.
        stream.on("error", () => undefined);
        stream.cancel();
      };
      return { cancel, [Symbol.asyncIterator]: () => responses(stream, cancel) };
    },
    [Symbol.dispose]: () => client.close(),
  };
}

/** Leaving the loop cancels the call: grpc-js by itself only stops reading, and the connection's window fills up. */
async function* responses(stream: AsyncIterable<ModelStreamInferResponse>, cancel: () => void) {
  try {
    yield* stream;
  } finally {
    cancel();
  }
}

/** A request as {@link createTritonClient} sends it. */
export function inferRequest(model: string, inputs: TensorValues, options: StreamOptions) {
  return create(ModelInferRequestSchema, {
    modelName: model,
    id: options.requestId ?? "",
    parameters: {
      triton_enable_empty_final_response: { parameterChoice: { case: "boolParam", value: true } },
      ...options.parameters,
    },
    inputs: Object.entries(inputs).map(([name, values]) => {
      const count = Array.isArray(values) ? values.length : 1;
      const shape = options.batched === false ? [count] : [1, count];
      return { name, datatype: datatypeOf(name, values), shape: shape.map(BigInt) };
    }),
    rawInputContents: Object.entries(inputs).map(([name, values]) => rawContents(datatypeOf(name, values), values)),
  });
}

const datatypes: Record<string, string> = {
  seed: "UINT64",
  temperature: "FP32",
  top_p: "FP32",
  sampling_param_seed: "UINT64",
  sampling_param_temperature: "FP32",
};

function datatypeOf(name: string, values: TensorValues[string]): string {
  if (typeof values === "number") return datatypes[name] ?? "INT32";
  return typeof values === "boolean" ? "BOOL" : "BYTES";
}

function rawContents(datatype: string, values: TensorValues[string]): Uint8Array {
  if (typeof values === "boolean") return Uint8Array.of(values ? 1 : 0);
  if (typeof values === "number") {
    const bytes = Buffer.alloc(datatype === "UINT64" ? 8 : 4);
    if (datatype === "UINT64") bytes.writeBigUInt64LE(BigInt(values));
    else if (datatype === "FP32") bytes.writeFloatLE(values);
    else bytes.writeInt32LE(values);
    return bytes;
  }
  return Buffer.concat([values].flat().flatMap(lengthPrefixed));
}

function lengthPrefixed(text: string): Buffer[] {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return [length, bytes];
}

/** The texts of a BYTES output; empty when the response has none. */
export function textsOf(response: ModelInferResponse, name: string): string[] {
  const bytes = rawOutput(response, name);
  const texts: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    texts.push(bytes.toString("utf8", at + 4, at + 4 + length));
    at += 4 + length;
  }
  return texts;
}

/** The values of a 32-bit integer output, whatever its shape; empty when the response has none. */
export function integersOf(response: ModelInferResponse, name: string): number[] {
  const bytes = rawOutput(response, name);
  return Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readInt32LE(index * 4));
}

function rawOutput(response: ModelInferResponse, name: string): Buffer {
  const index = response.outputs.findIndex((output) => output.name === name);
  return Buffer.from(response.rawOutputContents[index] ?? new Uint8Array());
}

/** Whether this is the last response of its request. */
export function isFinal(response: ModelInferResponse | undefined): boolean {
  return response?.parameters.triton_final_response?.parameterChoice.value === true;
}
