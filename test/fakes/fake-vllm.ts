import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import { Control, type ModelInfoSchema } from "../../gen/ts/engine/vllm/control_pb.ts";
import {
  type GenerateRequest,
  GenerateRequestSchema,
  GenerateResponseSchema,
  Inference,
  type SequenceOutputSchema,
} from "../../gen/ts/engine/vllm/inference_pb.ts";
import { Health, HealthCheckResponse_ServingStatus } from "../../gen/ts/grpc/health/v1/health_pb.ts";
import { answers, bytesOf, type FakeCall, type FakeGrpc, startFakeGrpc } from "./fake-grpc.ts";

export interface FakeVllmOptions {
  /** Answers Generate and GenerateStream. */
  readonly generate?: (call: FakeCall) => void;
  readonly info?: MessageInitShape<typeof ModelInfoSchema>;
  /** Adapters that are loaded; undefined: they are off. */
  readonly loras?: readonly string[];
  /** Undefined: it is not asked of this server. */
  readonly paused?: boolean;
  readonly sleeping?: boolean;
  readonly health?: HealthCheckResponse_ServingStatus;
}

const oneModel = { servedModelName: "fake", supportsTextInput: true, supportsTokenIdsInput: true };

/** A server of vllm.Inference and vllm.Control whose every answer the test decides. */
export function startFakeVllm(options: FakeVllmOptions): Promise<FakeGrpc> {
  const { generate, info = oneModel, loras, paused, sleeping, health } = options;
  const { method } = Control;
  const { SERVING } = HealthCheckResponse_ServingStatus;
  return startFakeGrpc((call) => {
    if (call.path.startsWith(`/${Inference.typeName}/Generate`)) return generate?.(call);
    const known =
      answers(call, method.getServerInfo, () => ({ engineVersion: "0.32.0", maxModelLen: 2_048 })) ||
      answers(call, method.getModelInfo, () => info) ||
      answers(call, method.listLoras, () =>
        loras ? { adapters: loras.map((loraName) => ({ loraName })) } : status.FAILED_PRECONDITION,
      ) ||
      answers(call, method.isPaused, () => (paused === undefined ? status.UNIMPLEMENTED : { paused })) ||
      answers(call, method.isSleeping, () => (sleeping === undefined ? status.INTERNAL : { sleeping })) ||
      answers(call, Health.method.check, () => ({ status: health ?? SERVING }));
    if (!known) call.end(status.UNIMPLEMENTED, "Method not found");
  });
}

/** A part of a stream with output. */
export function output(outputs: MessageInitShape<typeof SequenceOutputSchema>): Uint8Array {
  return bytesOf(GenerateResponseSchema, { outputs });
}

/** The beginning of a stream. */
export function promptInfo(numPromptTokens: number): Uint8Array {
  return bytesOf(GenerateResponseSchema, { promptInfo: { numPromptTokens } });
}

/** What was asked for. */
export function asked(call: FakeCall): GenerateRequest {
  return fromBinary(GenerateRequestSchema, call.request);
}
