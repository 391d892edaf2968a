import { createServer } from "node:net";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, type status } from "@grpc/grpc-js";
import { listen, type OpenServer, trackSockets } from "../listener.ts";
import { deserializer, serializer } from "../../runtime/grpc-wire.ts";

/** Why a call is not answered. */
export interface Refusal {
  readonly code: status;
  readonly text: string;
}

/** A gRPC server whose methods are still to be registered. */
export interface GrpcServer {
  readonly grpc: Server;
  /** Resets the connection of this peer, and all calls on it. */
  readonly cut: (peer: string) => void;
  /** Begins to listen. */
  open(host: string, port: number): Promise<OpenServer>;
}

/** A server without gRPC's limits on messages, as engines configure theirs. */
export function createGrpcServer(): GrpcServer {
  const grpc = new Server({ "grpc.max_receive_message_length": 2 ** 31 - 1, "grpc.max_send_message_length": -1 });
  // grpc-js keeps its connections to itself; ours can be reset, as a crash and a cut do.
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  const server = createServer({ noDelay: true }, (socket) => injector.injectConnection(socket));
  const sockets = trackSockets(server);
  return {
    grpc,
    cut: (peer) => sockets.reset(peer),
    async open(host, port) {
      const bound = await listen(server, host, port);
      return {
        url: `grpc://${host}:${bound}`,
        reset: () => {
          server.close();
          sockets.reset();
        },
        async [Symbol.asyncDispose]() {
          const closed = new Promise((resolve) => server.close(resolve));
          injector.destroy();
          grpc.forceShutdown();
          sockets.destroy();
          await closed;
        },
      };
    },
  };
}

/** Registers a method with one request and, at once, one answer. */
export function answerQuestion<I extends DescMessage, O extends DescMessage>(
  grpc: Server,
  question: DescMethod & { readonly input: I; readonly output: O },
  handle: (request: MessageShape<I>) => MessageInitShape<O> | Refusal,
): void {
  grpc.register<MessageShape<I>, MessageInitShape<O>>(
    pathOf(question),
    (call: ServerUnaryCall<MessageShape<I>, MessageInitShape<O>>, reply: sendUnaryData<MessageInitShape<O>>) => {
      const answered = handle(call.request);
      if (isRefusal(answered)) reply({ code: answered.code, details: answered.text });
      else reply(null, answered);
    },
    serializer(question.output),
    deserializer(question.input),
    "unary",
  );
}

/** Registers a method whose answers come when they come. */
export function registerMethod<I extends DescMessage, O extends DescMessage>(
  grpc: Server,
  method: DescMethod & { readonly input: I; readonly output: O },
  handler: Parameters<typeof grpc.register<MessageShape<I>, MessageInitShape<O>>>[1],
): void {
  const kinds = {
    unary: "unary",
    server_streaming: "serverStream",
    bidi_streaming: "bidi",
    client_streaming: "clientStream",
  };
  const { input, output, methodKind } = method;
  grpc.register(pathOf(method), handler, serializer(output), deserializer(input), kinds[methodKind]);
}

export function isRefusal(answered: object): answered is Refusal {
  return "code" in answered && "text" in answered;
}

function pathOf(of: DescMethod): string {
  return `/${of.parent.typeName}/${of.name}`;
}
