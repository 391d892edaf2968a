import type {
  DescMessage,
  DescMethod,
  DescMethodServerStreaming,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { type CallOptions, type Client, createClient, type Transport } from "@connectrpc/connect";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, weirErrorFrom } from "../errors/fail.ts";

/**
 * A Connect client whose streams can be left: connect-es drops `return` and `throw` of its iterables, so that a `break`
 * would leave the handler producing for nobody. Here it ends the call. Errors are failures with a reason.
 */
export function createMeshClient<S extends DescService>(service: S, transport: Transport): Client<S> {
  const client = createClient(service, transport);
  for (const method of service.methods) {
    if (!isServerStreaming(method)) continue;
    const call = (request: MessageInitShape<DescMessage>, options?: CallOptions) =>
      stream(transport, method, request, options);
    Reflect.set(client, method.localName, call);
  }
  return client;
}

function isServerStreaming(method: DescMethod): method is DescMethodServerStreaming {
  return method.methodKind === "server_streaming";
}

/** Opens a stream that ends its call when it is left. */
function stream<I extends DescMessage, O extends DescMessage>(
  transport: Transport,
  method: DescMethodServerStreaming<I, O>,
  request: MessageInitShape<I>,
  options: CallOptions = {},
): AsyncIterableIterator<MessageShape<O>> {
  const controller = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, controller.signal]) : controller.signal;
  const opening = open();
  // Nobody may ever ask for the first message: its error is then nobody's.
  opening.catch(() => {});

  async function open() {
    const response = await transport.stream(
      method,
      signal,
      options.timeoutMs,
      options.headers,
      one(request),
      options.contextValues,
    );
    options.onHeader?.(response.header);
    return { messages: response.message[Symbol.asyncIterator](), trailer: response.trailer };
  }

  let left = false;
  const leave = async (): Promise<IteratorResult<MessageShape<O>>> => {
    left = true;
    controller.abort(fail(ErrorReason.CANCELLED));
    return { done: true, value: undefined };
  };

  return {
    async next() {
      if (left) return { done: true, value: undefined };
      try {
        const { messages, trailer } = await opening;
        const result = await messages.next();
        if (result.done) options.onTrailer?.(trailer);
        return result;
      } catch (thrown) {
        throw weirErrorFrom(thrown);
      }
    },
    return: leave,
    async throw(thrown: unknown) {
      await leave();
      throw thrown;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

async function* one<T>(value: T): AsyncIterable<T> {
  yield value;
}
