import {
  type DescMessage,
  type DescMethod,
  fromBinary,
  isMessage,
  type Message,
  type MessageShape,
  toBinary,
  create,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { type CallOptions, Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";

/** Another maker's gRPC client as a transport, so that the suite hears what a stranger hears. */
export function createGrpcJsTransport(baseUrl: string): Transport & { close(): void } {
  const client = new Client(new URL(baseUrl).host, credentials.createInsecure(), { "grpc.enable_retries": 0 });
  return {
    async unary(method, signal, timeoutMs, headers, input) {
      signal?.throwIfAborted();
      return await new Promise((resolve, reject) => {
        const header = new Headers();
        const call = client.makeUnaryRequest(
          pathOf(method),
          (message: Message) => Buffer.from(toBinary(method.input, asMessage(method.input, message))),
          (bytes) => fromBinary(method.output, bytes),
          create(method.input, input),
          metadataFrom(new Headers(headers)),
          optionsFrom(timeoutMs),
          (error, message) => {
            if (error) reject(errorFrom(error));
            else if (message) {
              const { parent: service } = method;
              resolve({ stream: false, service, method, header, trailer: new Headers(), message });
            }
          },
        );
        call.on("metadata", (metadata) => copyMetadata(metadata, header));
        signal?.addEventListener("abort", () => call.cancel(), { once: true });
      });
    },

    async stream(method, signal, timeoutMs, headers, input) {
      signal?.throwIfAborted();
      const { value } = await input[Symbol.asyncIterator]().next();
      const header = new Headers();
      const call = client.makeServerStreamRequest(
        pathOf(method),
        (message: Message) => Buffer.from(toBinary(method.input, asMessage(method.input, message))),
        (bytes) => fromBinary(method.output, bytes),
        create(method.input, value),
        metadataFrom(new Headers(headers)),
        optionsFrom(timeoutMs),
      );
      signal?.addEventListener("abort", () => call.cancel(), { once: true });
      const messages = call[Symbol.asyncIterator]();
      // It may come before anyone iterates, and an iterator that begins later does not repeat it.
      let failure: ServiceError | undefined;
      call.once("error", (error: ServiceError) => {
        failure = error;
      });
      await new Promise<void>((resolve) => {
        call.once("metadata", (metadata: Metadata) => {
          copyMetadata(metadata, header);
          resolve();
        });
        call.once("error", () => resolve());
        call.once("end", () => resolve());
      });
      const message = {
        [Symbol.asyncIterator]: () => ({
          async next(): Promise<IteratorResult<MessageShape<typeof method.output>>> {
            const result = await messages.next().catch(() => undefined);
            if (result && !result.done) return result;
            if (failure) throw errorFrom(failure);
            return { done: true, value: undefined };
          },
        }),
      };
      return { stream: true, service: method.parent, method, header, trailer: new Headers(), message };
    },

    close: () => client.close(),
  };
}

function asMessage<D extends DescMessage>(schema: D, message: Message) {
  if (!isMessage(message, schema)) throw new TypeError(`not a ${schema.typeName}`);
  return message;
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function optionsFrom(timeoutMs: number | undefined): CallOptions {
  return timeoutMs === undefined ? {} : { deadline: new Date(Date.now() + timeoutMs) };
}

function metadataFrom(headers: Headers): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of headers) metadata.set(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  return metadata;
}

function copyMetadata(metadata: Metadata, to: Headers): void {
  for (const [name, value] of Object.entries(metadata.getMap())) {
    to.set(name, typeof value === "string" ? value : value.toString("base64"));
  }
}

function errorFrom(error: ServiceError): ConnectError {
  if (error.code === status.CANCELLED) return new ConnectError(error.details, Code.Canceled);
  const trailer = new Headers({ "grpc-status": String(error.code), "grpc-message": encodeURIComponent(error.details) });
  copyMetadata(error.metadata, trailer);
  return findTrailerError(trailer) ?? new ConnectError(error.details, Code.Unknown);
}
