import { GRPCInferenceService, ModelInferRequestSchema } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { Rpc } from "../grpc/channel.ts";
import { serializer } from "../../runtime/grpc-wire.ts";
import { type InferMessage, ResponseCodec } from "./codec.ts";
import type { InferRequest } from "./inputs.ts";

const service = `/${GRPCInferenceService.typeName}`;
const write = serializer(ModelInferRequestSchema);

/** Any number of responses. For one call: its message is the same object each time. */
export function modelStreamInfer(): Rpc<InferRequest, InferMessage> {
  const codec = new ResponseCodec();
  return { path: `${service}/ModelStreamInfer`, write, read: (bytes) => codec.streamed(bytes) };
}

/** One response, which is the last. For one call. */
export function modelInfer(): Rpc<InferRequest, InferMessage> {
  const codec = new ResponseCodec();
  return { path: `${service}/ModelInfer`, write, read: (bytes) => ({ ...codec.single(bytes), final: true }) };
}
