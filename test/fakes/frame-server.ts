import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { endHeaders, frame, frameType, literals } from "./raw-http2.ts";

/** A frame as it came. */
export interface ReceivedFrame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** One connection to a {@link FrameServer}. */
export interface FrameConnection {
  readonly frames: readonly ReceivedFrame[];
  /** Resolves when the client has closed it. */
  readonly closed: Promise<void>;
  /** Sends bytes, which need not be whole frames. */
  send(...bytes: readonly Buffer[]): void;
  /** Takes no bytes from the socket until `resume`. */
  pause(): void;
  resume(): void;
  /** Resolves once the frames that came hold what is asked for. */
  until(holds: (frames: readonly ReceivedFrame[]) => boolean): Promise<void>;
}

/** An HTTP/2 server that sends no frame of itself but its settings and their acknowledgement, and keeps all that come. */
export interface FrameServer extends AsyncDisposable {
  readonly url: string;
  /** The connection of this place in the order of their coming, once it is there. */
  connection(index: number): Promise<FrameConnection>;
}

/** Settings by their number in RFC 9113. */
export type Settings = Readonly<Record<number, number>>;
export const settingOf = { maxConcurrentStreams: 3, initialWindowSize: 4 } as const;

const prefaceBytes = 24;
const ackFlag = 0x1;

/** Starts one. */
export async function startFrameServer(settings: Settings = {}): Promise<FrameServer> {
  const sockets: Socket[] = [];
  const connections: FrameConnection[] = [];
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.push(socket);
    connections.push(serve(socket, settings));
    server.emit("served");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `grpc://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async connection(index) {
      for (;;) {
        const found = connections[index];
        if (found) return found;
        await once(server, "served");
      }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

function serve(socket: Socket, settings: Settings): FrameConnection {
  const frames: ReceivedFrame[] = [];
  let waiting: (() => void)[] = [];
  let pending = Buffer.alloc(0);
  let hasPreface = false;
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    if (!hasPreface) {
      if (pending.length < prefaceBytes) return;
      hasPreface = true;
      pending = pending.subarray(prefaceBytes);
    }
    for (let length = lengthOf(pending); pending.length >= length; length = lengthOf(pending)) {
      const came = { type: pending.readUInt8(3), flags: pending.readUInt8(4), stream: pending.readUInt32BE(5) };
      frames.push({ ...came, payload: pending.subarray(9, length) });
      pending = pending.subarray(length);
      if (came.type === frameType.settings && came.flags === 0) socket.write(frame(frameType.settings, ackFlag, 0));
    }
    const woken = waiting;
    waiting = [];
    for (const wake of woken) wake();
  });
  const wanted = Object.entries(settings).map(([id, value]) => {
    const entry = Buffer.alloc(6);
    entry.writeUInt16BE(Number(id), 0);
    entry.writeUInt32BE(value, 2);
    return entry;
  });
  socket.write(frame(frameType.settings, 0, 0, Buffer.concat(wanted)));
  return {
    frames,
    closed,
    send: (...bytes) => void socket.write(Buffer.concat(bytes)),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    async until(holds) {
      while (!holds(frames)) await new Promise<void>((resolve) => waiting.push(resolve));
    },
  };
}

/** Of the first frame; endless where its head is not all there. */
function lengthOf(bytes: Buffer): number {
  return bytes.length < 9 ? Number.POSITIVE_INFINITY : 9 + bytes.readUIntBE(0, 3);
}

/** The headers with which a gRPC server opens its response. */
export function responseHeaders(stream: number): Buffer {
  const headers = [[":status", "200"] as const, ["content-type", "application/grpc"] as const];
  return frame(frameType.headers, endHeaders, stream, literals(headers));
}

/** A DATA frame of a stream that goes on. */
export function dataFrame(stream: number, payload: Buffer): Buffer {
  return frame(frameType.data, 0, stream, payload);
}

/** A GOAWAY without an error: streams above `last` were not looked at. */
export function goaway(last: number): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeUInt32BE(last, 0);
  return frame(frameType.goaway, 0, 0, payload);
}
