import { createServer, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { status } from "@grpc/grpc-js";

/** One call, in the hands of the test: what is sent may be anything. */
export interface FakeCall {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The bytes of the request's message. */
  readonly request: Buffer;
  /** Resolves when the client cancels or goes away. */
  readonly cancelled: Promise<void>;
  /** Sends response headers, beside those that are due. Without it they go out with the first bytes. */
  open(headers: Readonly<Record<string, string>>): void;
  /** Sends a message; false if the client reads no more for now. */
  send(message: Uint8Array): boolean;
  /** Sends bytes that are no gRPC frame, or not a whole one. */
  raw(bytes: Uint8Array): void;
  /** Ends the call with these trailers, as they are. */
  trailers(trailers: Readonly<Record<string, string>>): void;
  end(code?: number, details?: string): void;
  /** Ends the stream with an HTTP/2 error code. */
  reset(code: number): void;
  /** Runs when the client reads again after a `send` that gave false. */
  onDrain(run: () => void): void;
}

/** A gRPC server of which every byte above HTTP/2's frames is the test's. */
export interface FakeGrpc extends AsyncDisposable {
  readonly url: string;
  readonly calls: readonly FakeCall[];
  /** Ends all connections at once, as a dying process does, and takes no new ones. */
  die(): void;
}

/** Starts a server that hands over each call once its request is complete. */
export async function startFakeGrpc(handle: (call: FakeCall) => void): Promise<FakeGrpc> {
  const calls: FakeCall[] = [];
  const sessions = new Set<ServerHttp2Session>();
  // Headers of a megabyte are sent on purpose.
  const server = createServer({ maxSendHeaderBlockLength: 16 * 1_048_576 });
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => undefined).on("close", () => sessions.delete(session));
  });
  server.on("stream", (stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on("error", () => undefined);
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => {
      const call = callOf(stream, headers, Buffer.concat(chunks).subarray(prefixLength));
      calls.push(call);
      handle(call);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const die = () => {
    for (const session of sessions) session.destroy();
    server.close();
  };
  const { port } = server.address() as AddressInfo;
  return { url: `grpc://127.0.0.1:${port}`, calls, die, [Symbol.asyncDispose]: async () => die() };
}

/** A flag of compression, and the length in 32 bits. */
const prefixLength = 5;

/** A message as it is framed; `length` may lie. */
export function framed(message: Uint8Array, length = message.length): Buffer {
  const prefix = Buffer.alloc(prefixLength);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

function callOf(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, request: Buffer): FakeCall {
  let trailers: Readonly<Record<string, string>> = {};
  const open: FakeCall["open"] = (more) => {
    if (stream.headersSent || stream.destroyed) return;
    stream.respond({ ":status": 200, "content-type": "application/grpc", ...more }, { waitForTrailers: true });
  };
  const write = (bytes: Uint8Array) => {
    open({});
    return stream.destroyed || stream.write(bytes);
  };
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  const call: FakeCall = {
    path: String(headers[":path"]),
    headers,
    request,
    cancelled: new Promise((resolve) => stream.on("aborted", () => resolve()).on("close", () => resolve())),
    open,
    send: (message) => write(framed(message)),
    raw: (bytes) => void write(bytes),
    trailers(given) {
      trailers = given;
      open({});
      stream.end();
    },
    end: (code = 0, details = "") => call.trailers({ "grpc-status": String(code), "grpc-message": encodeURI(details) }),
    reset: (code) => stream.close(code),
    onDrain: (run) => void stream.once("drain", run),
  };
  return call;
}

/** Answers a unary method if the call is one to it; a number is the status that the call fails with. */
export function answers<I extends DescMessage, O extends DescMessage>(
  call: FakeCall,
  method: DescMethod & { readonly input: I; readonly output: O },
  reply: (request: MessageShape<I>) => MessageInitShape<O> | status,
): boolean {
  if (call.path !== `/${method.parent.typeName}/${method.name}`) return false;
  const answer = reply(fromBinary(method.input, call.request));
  if (typeof answer === "number") call.end(answer, "no answer");
  else {
    call.send(bytesOf(method.output, answer));
    call.end();
  }
  return true;
}

/** A message's bytes. */
export function bytesOf<D extends DescMessage>(schema: D, value: MessageInitShape<D>): Uint8Array {
  return toBinary(schema, create(schema, value));
}
