import type { ServerUnaryCall, ServerWritableStream, sendUnaryData } from "@grpc/grpc-js";
import type { GrpcServer, Refusal } from "./server.ts";

/** Where the answer to one request goes. After `end` and `fail` nothing is sent. */
export interface Outlet<M> {
  send(message: M): void;
  end(): void;
  fail(refusal: Refusal): void;
  /** Resets the connection. */
  cut(): void;
  crash(): void;
}

/** An engine does not wait for a slow reader. One that leaves this many messages behind has gone, or never reads. */
const pendingMessagesMax = 65_536;

/** The stream of a call as an outlet. */
export function streamOutlet<I, M>(
  call: ServerWritableStream<I, M>,
  server: Pick<GrpcServer, "cut">,
  crash: () => void,
): Outlet<M> {
  let over = false;
  const close = (run: () => void) => {
    if (over) return;
    over = true;
    run();
  };
  call.on("cancelled", () => {
    over = true;
  });
  return {
    send(message) {
      if (over) return;
      call.write(message);
      if (call.writableLength > pendingMessagesMax) server.cut(call.getPeer());
    },
    end: () => close(() => call.end()),
    fail: ({ code, text }) => close(() => call.emit("error", { code, details: text })),
    cut: () => server.cut(call.getPeer()),
    crash,
  };
}

/** The answer of a call that does not stream as an outlet: its last message. */
export function unaryOutlet<I, M>(
  call: Pick<ServerUnaryCall<I, M>, "getPeer">,
  reply: sendUnaryData<M>,
  server: Pick<GrpcServer, "cut">,
  crash: () => void,
): Outlet<M> {
  let answer: M | undefined;
  let over = false;
  const close = (...given: Parameters<sendUnaryData<M>>) => {
    if (!over) reply(...given);
    over = true;
  };
  return {
    send(message) {
      answer = message;
    },
    end: () => close(null, answer),
    fail: ({ code, text }) => close({ code, details: text }),
    cut: () => server.cut(call.getPeer()),
    crash,
  };
}
