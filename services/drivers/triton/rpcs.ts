import { GRPCInferenceService, ModelInferRequestSchema } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { Rpc } from "../grpc/channel.ts";
import { serializer } from "../../runtime/grpc-wire.ts";
import { decodeResponse, decodeStreamResponse, type InferMessage } from "./codec.ts";
import type { InferRequest } from "./inputs.ts";

const service = `/${GRPCInferenceService.typeName}`;
const write = serializer(ModelInferRequestSchema);

/** Any number of responses. */
export const modelStreamInfer: Rpc<InferRequest, InferMessage> = {
  path: `${service}/ModelStreamInfer`,
  write,
  read: decodeStreamResponse,
};

/** One response, which is the last. */
export const modelInfer: Rpc<InferRequest, InferMessage> = {
  path: `${service}/ModelInfer`,
  write,
  read: (bytes) => ({ ...decodeResponse(bytes), final: true }),
};
