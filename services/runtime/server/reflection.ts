import { create, type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter } from "@connectrpc/connect";
import {
  ServerReflection,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from "../../../gen/ts/grpc/reflection/v1/reflection_pb.ts";
import { openReadMaxBytes } from "./rpc-adapter.ts";

/** Serves gRPC reflection for these services, so that grpcurl and the like need no files. */
export function reflectionRoutes(services: readonly DescService[]): (router: ConnectRouter) => void {
  const files = allFiles(services.map((service) => service.file));
  const byName = new Map(files.map((file) => [`${file.name}.proto`, file]));
  /** Encoded once: whoever asks needs no key, and may ask without end. */
  const encoded = new Map<DescFile, Uint8Array>();
  const bySymbol = new Map(files.flatMap((file) => symbolsOf(file).map((symbol) => [symbol, file] as const)));
  return (router) => {
    const implementation = {
      async *serverReflectionInfo(requests: AsyncIterable<ServerReflectionRequest>) {
        for await (const request of requests) yield answer(request);
      },
    };
    router.service(ServerReflection, implementation, { readMaxBytes: openReadMaxBytes });
  };

  function answer(request: ServerReflectionRequest): ServerReflectionResponse {
    const response = create(ServerReflectionResponseSchema, { validHost: request.host, originalRequest: request });
    const asked = request.messageRequest;
    switch (asked.case) {
      case "listServices": {
        const service = services.map(({ typeName }) => ({ name: typeName }));
        response.messageResponse = {
          case: "listServicesResponse",
          value: {
            $typeName: "grpc.reflection.v1.ListServiceResponse",
            service: service.map((s) => ({ $typeName: "grpc.reflection.v1.ServiceResponse", ...s })),
          },
        };
        return response;
      }
      case "fileByFilename":
        return withFile(response, byName.get(asked.value), asked.value);
      case "fileContainingSymbol":
        return withFile(response, bySymbol.get(asked.value), asked.value);
      default:
        return withError(response, Code.Unimplemented, "ask for a file, a symbol or the list of services");
    }
  }

  function bytesOf(file: DescFile): Uint8Array {
    const bytes = encoded.get(file) ?? toBinary(FileDescriptorProtoSchema, file.proto);
    encoded.set(file, bytes);
    return bytes;
  }

  function withFile(
    response: ServerReflectionResponse,
    file: DescFile | undefined,
    asked: string,
  ): ServerReflectionResponse {
    if (file === undefined) return withError(response, Code.NotFound, `no such file or symbol: ${asked.slice(0, 256)}`);
    const fileDescriptorProto = allFiles([file]).map(bytesOf);
    response.messageResponse = {
      case: "fileDescriptorResponse",
      value: { $typeName: "grpc.reflection.v1.FileDescriptorResponse", fileDescriptorProto },
    };
    return response;
  }
}

function withError(response: ServerReflectionResponse, code: Code, message: string): ServerReflectionResponse {
  response.messageResponse = {
    case: "errorResponse",
    value: { $typeName: "grpc.reflection.v1.ErrorResponse", errorCode: code, errorMessage: message },
  };
  return response;
}

/** The files and everything that they import, each once, what is imported first. */
function allFiles(roots: readonly DescFile[]): DescFile[] {
  const seen = new Set<DescFile>();
  const visit = (file: DescFile) => {
    if (seen.has(file)) return;
    for (const dependency of file.dependencies) visit(dependency);
    seen.add(file);
  };
  for (const root of roots) visit(root);
  return [...seen];
}

function symbolsOf(file: DescFile): string[] {
  return [
    ...file.services.flatMap((service) => [
      service.typeName,
      ...service.methods.map((method) => `${service.typeName}.${method.name}`),
    ]),
    ...file.messages.map((message) => message.typeName),
    ...file.enums.map((each) => each.typeName),
  ];
}
