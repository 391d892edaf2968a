import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { status as grpcStatus } from "@grpc/grpc-js";
import { deserializer, serializer } from "../../runtime/grpc-wire.ts";
import { credentialHeader } from "../credential.ts";
import type { Target } from "../driver.ts";
import { questionTimeoutMs } from "../reach.ts";
import { Session } from "./session.ts";
import { StatusError } from "./status-error.ts";
import { type Call, type CallReceiver, StreamCall } from "./stream-call.ts";

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
  /**
   * Sends one request and half-closes. What comes back is read as a stream, of whatever kind the method is: on the wire
   * a unary answer is a stream of one message. Nothing is told before this returns. Throws if the channel is closed.
   */
  send<I, O>(rpc: Rpc<I, O>, request: I, receiver: CallReceiver<O>, headers?: Readonly<Record<string, string>>): Call;
  /** Asks something of the server that has one answer, for 10 s or `timeoutMs`; rejects with a StatusError. */
  ask<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { readonly input: I; readonly output: O },
    request: MessageInitShape<I>,
    signal: AbortSignal,
    timeoutMs?: number,
  ): Promise<MessageShape<O>>;
}

type FailingCall = Pick<StreamCall<unknown>, "fail">;

/**
 * Opens the channel of a target. It connects with its first call, and again after each loss: whether to try again is the
 * router's to decide.
 */
export function openChannel(target: Target): Channel {
  const session = new Session(target);
  const own = credentialHeader(target);
  const open = new Set<FailingCall>();
  let closed = false;

  function send<I, O>(
    { path, write, read }: Rpc<I, O>,
    request: I,
    receiver: CallReceiver<O>,
    headers?: Readonly<Record<string, string>>,
  ): StreamCall<O> {
    if (closed) throw new Error("the channel is closed");
    const call = new StreamCall<O>({
      connection: session.connection(),
      headers: {
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
        te: "trailers",
        "user-agent": "weir",
        "grpc-accept-encoding": "identity",
        ...own,
        ...headers,
      },
      request: write(request),
      read,
      bytesMax: target.receiveBytesMax,
      receiver,
      over: (ended) => open.delete(ended),
    });
    open.add(call);
    return call;
  }

  return {
    get closed() {
      return closed;
    },
    send,
    ask: (method, request, signal, timeoutMs = questionTimeoutMs) => {
      const rpc = {
        path: `/${method.parent.typeName}/${method.name}`,
        write: serializer(method.input),
        read: deserializer(method.output),
      };
      const limited = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
      return answerOf((receiver) => send(rpc, request, receiver), limited);
    },
    [Symbol.dispose]() {
      closed = true;
      for (const call of open) call.fail(new StatusError(grpcStatus.CANCELLED, "the channel is closed"));
      session.close();
    },
  };
}

/** The one answer to a question; rejects with a StatusError. */
function answerOf<O>(ask: (receiver: CallReceiver<O>) => Call, signal: AbortSignal): Promise<O> {
  return new Promise((resolve, reject) => {
    let answer: { readonly value: O } | undefined;
    const over = (settle: () => void) => {
      signal.removeEventListener("abort", onAbort);
      settle();
    };
    const call = ask({
      onMessage(value) {
        answer = { value };
      },
      onEnd: () =>
        over(() => {
          if (answer) resolve(answer.value);
          else reject(new StatusError(grpcStatus.INTERNAL, "Invalid: an end without an answer"));
        }),
      onError: (error) => over(() => reject(error)),
    });
    const onAbort = () =>
      over(() => {
        call.cancel();
        reject(new StatusError(grpcStatus.CANCELLED, "nobody waits for the answer", signal.reason));
      });
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}
