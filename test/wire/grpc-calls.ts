import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { deserializer, serializer } from "../../services/runtime/grpc-wire.ts";

type Method<I extends DescMessage, O extends DescMessage> = DescMethod & { readonly input: I; readonly output: O };

/** All that a call brought. */
export interface Drained<M> {
  readonly messages: readonly M[];
  readonly code: status;
  readonly details: string;
}

/** A call that runs. */
export interface Begun<M> {
  cancel(): void;
  /** Resolves at its end, of whatever kind. */
  readonly drained: Promise<Drained<M>>;
}

interface CallOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly deadlineMs?: number;
}

/** Calls to a gRPC server as they are on the wire: what no driver would send, and all that comes. */
export interface GrpcCalls extends Disposable {
  begin<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
    options?: CallOptions,
  ): Begun<MessageShape<O>>;
  /** The whole of a call. */
  call<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
    options?: CallOptions,
  ): Promise<Drained<MessageShape<O>>>;
}

/** Connects to grpc://host:port. */
export function callGrpc(url: string): GrpcCalls {
  const client = new Client(url.replace("grpc://", ""), credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  const begin: GrpcCalls["begin"] = (method, request, { headers = {}, deadlineMs } = {}) => {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
    const call = client.makeServerStreamRequest(
      `/${method.parent.typeName}/${method.name}`,
      serializer(method.input),
      deserializer(method.output),
      request,
      metadata,
      deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs },
    );
    const messages: MessageShape<typeof method.output>[] = [];
    const drained = new Promise<Drained<MessageShape<typeof method.output>>>((resolve) => {
      call.on("data", (message: MessageShape<typeof method.output>) => messages.push(message));
      call.on("end", () => resolve({ messages, code: status.OK, details: "" }));
      call.on("error", ({ code, details }: ServiceError) => resolve({ messages, code, details }));
    });
    return { cancel: () => call.cancel(), drained };
  };
  return {
    begin,
    call: (method, request, options) => begin(method, request, options).drained,
    [Symbol.dispose]: () => client.close(),
  };
}
