import { type DescService, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { type Server, type ServerDuplexStream, status } from "@grpc/grpc-js";
import type {
  ServerReflectionRequest,
  ServerReflectionResponseSchema,
} from "../../../gen/ts/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection } from "../../../gen/ts/grpc/reflection/v1alpha/reflection_pb.ts";
import { registerMethod } from "./server.ts";

type Response = MessageInitShape<typeof ServerReflectionResponseSchema>;
type Answer = NonNullable<Response["messageResponse"]>;

/** Serves gRPC's reflection of one service, as servers in Python do: by its first name, and a file by a symbol in it. */
export function serveReflection(grpc: Server, service: DescService): void {
  const { serverReflectionInfo } = ServerReflection.method;
  const { file, typeName } = service;
  const bytes = toBinary(FileDescriptorProtoSchema, file.proto);
  const symbols = new Set([...file.services, ...file.messages, ...file.enums].map((one) => one.typeName));
  const answerTo = ({ messageRequest: asked }: ServerReflectionRequest): Answer => {
    if (asked.case === "listServices")
      return { case: "listServicesResponse", value: { service: [{ name: typeName }] } };
    if (asked.case === "fileContainingSymbol" && symbols.has(asked.value))
      return { case: "fileDescriptorResponse", value: { fileDescriptorProto: [bytes] } };
    return { case: "errorResponse", value: { errorCode: status.NOT_FOUND, errorMessage: "Symbol not found." } };
  };
  registerMethod(grpc, serverReflectionInfo, (call: ServerDuplexStream<ServerReflectionRequest, Response>) => {
    call.on("data", (request: ServerReflectionRequest) =>
      call.write({ originalRequest: request, messageResponse: answerTo(request) }),
    );
    call.on("end", () => call.end());
  });
}
