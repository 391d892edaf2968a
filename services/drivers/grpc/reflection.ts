import { fromBinary } from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { status as grpcStatus } from "@grpc/grpc-js";
import { ServerReflection } from "../../../gen/ts/grpc/reflection/v1alpha/reflection_pb.ts";
import type { Channel } from "./channel.ts";
import { isStatusError } from "./status.ts";

/** What passes: the server may tell when it is asked again. */
const passing: ReadonlySet<number> = new Set([
  grpcStatus.UNAVAILABLE,
  grpcStatus.CANCELLED,
  grpcStatus.DEADLINE_EXCEEDED,
  grpcStatus.RESOURCE_EXHAUSTED,
]);

/**
 * The files of the server's own contract that say what a symbol is; none if it does not know the symbol, or tells nobody.
 * Rejects with a StatusError if it could not be asked, and with what reading throws for files that are none.
 *
 * @param symbol the full name of a message or a service.
 */
export async function filesWith(
  channel: Channel,
  symbol: string,
  signal: AbortSignal,
): Promise<readonly FileDescriptorProto[]> {
  const messageRequest = { case: "fileContainingSymbol" as const, value: symbol };
  try {
    const { serverReflectionInfo } = ServerReflection.method;
    const { messageResponse } = await channel.ask(serverReflectionInfo, { messageRequest }, signal);
    if (messageResponse.case !== "fileDescriptorResponse") return [];
    return messageResponse.value.fileDescriptorProto.map((file) => fromBinary(FileDescriptorProtoSchema, file));
  } catch (thrown) {
    if (!isStatusError(thrown) || passing.has(thrown.code)) throw thrown;
    return [];
  }
}
