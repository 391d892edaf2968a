import type { MessageInitShape } from "@bufbuild/protobuf";
import { clone, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { status } from "@grpc/grpc-js";
import {
  type BatchedGenerationRequest,
  BatchedGenerationRequestSchema,
  BatchedGenerationResponseSchema,
  GenerationResponseSchema,
  GenerationService,
  type SingleGenerationRequest,
  SingleGenerationRequestSchema,
} from "../../gen/ts/engine/tgis/generation_pb.ts";
import { Health, HealthCheckResponse_ServingStatus } from "../../gen/ts/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../../gen/ts/grpc/reflection/v1alpha/reflection_pb.ts";
import { answers, bytesOf, type FakeCall, type FakeGrpc, startFakeGrpc } from "./fake-grpc.ts";

export type TgisResponse = MessageInitShape<typeof GenerationResponseSchema>;

export interface FakeTgisOptions {
  /** Answers Generate and GenerateStream. */
  readonly generate?: (call: FakeCall) => void;
  /** What Tokenize tells; undefined: it is not served. */
  readonly pieces?: readonly string[];
  /** What the health check tells; undefined: it is not served. */
  readonly health?: HealthCheckResponse_ServingStatus;
  readonly maxNewTokens?: number;
  /** How it answers for its contract. Default: it shows the adapter's. */
  readonly contract?: Contract;
}

/** The files that hold a symbol, or the status that reflection fails with. */
export type Contract = (symbol: string) => readonly Uint8Array[] | status;

/** The adapter's contract. */
export const adapterContract = toBinary(FileDescriptorProtoSchema, GenerationService.file.proto);

/** IBM's contract, which has no forms of an answer; nobody is shown it. */
export function ibmContract(): Uint8Array {
  const file = clone(FileDescriptorProtoSchema, GenerationService.file.proto);
  const decoding = file.messageType.find(({ name }) => name === "DecodingParameters");
  if (!decoding) throw new Error("the contract has no DecodingParameters");
  decoding.field = decoding.field.filter(({ number }) => number < 3);
  decoding.oneofDecl = [];
  return toBinary(FileDescriptorProtoSchema, file);
}

/** A server of fmaas.GenerationService whose every answer the test decides. */
export function startFakeTgis({
  generate,
  pieces,
  health,
  maxNewTokens = 0,
  contract = () => [adapterContract],
}: FakeTgisOptions): Promise<FakeGrpc> {
  const { modelInfo, tokenize } = GenerationService.method;
  return startFakeGrpc((call) => {
    if (call.path.startsWith(`/${GenerationService.typeName}/Generate`)) return generate?.(call);
    const known =
      answers(call, modelInfo, () => ({ maxSequenceLength: 2_048, maxNewTokens })) ||
      answers(call, tokenize, () =>
        pieces ? { responses: [{ tokenCount: pieces.length, tokens: [...pieces] }] } : status.UNIMPLEMENTED,
      ) ||
      answers(call, Health.method.check, () => (health === undefined ? status.UNIMPLEMENTED : { status: health })) ||
      answers(call, ServerReflection.method.serverReflectionInfo, ({ messageRequest }) => {
        const files = contract(String(messageRequest.value));
        if (typeof files === "number") return files;
        const value = { fileDescriptorProto: [...files] };
        return { messageResponse: { case: "fileDescriptorResponse" as const, value } };
      });
    if (!known) call.end(status.UNIMPLEMENTED, "Method not found");
  });
}

/** A part of a stream. */
export function part(response: TgisResponse): Uint8Array {
  return bytesOf(GenerationResponseSchema, response);
}

/** The answer of a call that does not stream. */
export function batch(...responses: TgisResponse[]): Uint8Array {
  return bytesOf(BatchedGenerationResponseSchema, { responses });
}

/** What a stream was asked for. */
export function asked(call: FakeCall): SingleGenerationRequest {
  return fromBinary(SingleGenerationRequestSchema, call.request);
}

/** What a call that does not stream was asked for. */
export function askedAtOnce(call: FakeCall): BatchedGenerationRequest {
  return fromBinary(BatchedGenerationRequestSchema, call.request);
}
