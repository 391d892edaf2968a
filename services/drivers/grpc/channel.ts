import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Client, type ClientReadableStream, connectivityState, credentials, Metadata } from "@grpc/grpc-js";
import type { Target } from "../driver.ts";
import { questionTimeoutMs } from "../reach.ts";
import { deserializer, serializer } from "../../runtime/grpc-wire.ts";

/** A method as it is called: where, and how its messages are written and read. */
export interface Rpc<I, O> {
  readonly path: string;
  readonly write: (request: I) => Buffer;
  /** Throws for bytes that are no such message. */
  readonly read: (bytes: Buffer) => O;
}

/** The connection to one server: one HTTP/2 session that carries all calls. */
export interface Channel extends Disposable {
  /** It was disposed: nothing can be sent any more. */
  readonly closed: boolean;
  /** Whether the connection stands. Asking makes it connect. */
  isConnected(): boolean;
  /**
   * Sends one request and half-closes. What comes back is read as a stream, of whatever kind the method is: on the wire
   * a unary answer is a stream of one message. Throws if the channel is closed.
   */
  send<I, O>(rpc: Rpc<I, O>, request: I, headers?: Readonly<Record<string, string>>): ClientReadableStream<O>;
  /**
   * Asks something of the server, for 10 s or `timeoutMs`; rejects with grpc-js's ServiceError.
   */
  ask<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    signal: AbortSignal,
    timeoutMs?: number,
  ): Promise<MessageShape<O>>;
}

/** Opens the channel of a target. It connects with its first call, and again after each loss. */
export function openChannel(target: Target): Channel {
  const { hostname, port } = new URL(target.url);
  const client = new Client(`${hostname}:${port || 80}`, credentials.createInsecure(), {
    "grpc.max_receive_message_length": target.receiveBytesMax,
    "grpc.max_send_message_length": -1,
    // The router decides about another try; a silent one here would be a second generation.
    "grpc.enable_retries": 0,
    "grpc.service_config_disable_resolution": 1,
    // A replica's failures are its own, also when two targets name the same address.
    "grpc.use_local_subchannel_pool": 1,
    // The environment's proxy variables are not meant for engines.
    "grpc.enable_http_proxy": 0,
    // grpc-js waits up to two minutes; an engine that is back should be found by the next probe.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    // No keepalive: servers built on gRPC's core end the connection, with all calls on it, at the fourth ping without data.
  });
  const metadata = new Metadata();
  if (target.engineKey !== undefined) metadata.set("authorization", `Bearer ${target.engineKey}`);

  // grpc-js lets open calls go on after a close, and new ones wait for ever.
  const open = new Set<{ cancel(): void }>();
  let closed = false;

  function metadataWith(headers: Readonly<Record<string, string>> | undefined): Metadata {
    if (!headers) return metadata;
    const own = metadata.clone();
    for (const [name, value] of Object.entries(headers)) own.set(name, value);
    return own;
  }

  return {
    get closed() {
      return closed;
    },
    isConnected: () => !closed && client.getChannel().getConnectivityState(true) === connectivityState.READY,
    send({ path, write, read }, request, headers) {
      if (closed) throw new Error("the channel is closed");
      const call = client.makeServerStreamRequest(path, write, read, request, metadataWith(headers));
      open.add(call);
      call.on("status", () => open.delete(call));
      return call;
    },
    ask: (method, request, signal, timeoutMs = questionTimeoutMs) =>
      new Promise((resolve, reject) => {
        const limited = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
        const onAbort = () => call.cancel();
        const call = client.makeUnaryRequest(
          `/${method.parent.typeName}/${method.name}`,
          serializer(method.input),
          deserializer(method.output),
          request,
          metadata,
          (error, response) => {
            limited.removeEventListener("abort", onAbort);
            if (error) reject(error);
            else if (response) resolve(response);
          },
        );
        if (limited.aborted) call.cancel();
        else limited.addEventListener("abort", onAbort, { once: true });
      }),
    [Symbol.dispose]() {
      closed = true;
      for (const call of open) call.cancel();
      client.close();
    },
  };
}
