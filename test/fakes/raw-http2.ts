import { connect, type Socket } from "node:net";

/** Frame types of RFC 9113. */
export const frameType = {
  data: 0,
  headers: 1,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const endStream = 0x1;
export const endHeaders = 0x4;

/** What a raw HTTP/2 connection brought. */
export interface Http2Exchange {
  /** Error code of the GOAWAY; undefined if none came. */
  readonly goaway: number | undefined;
  /** Error codes of RST_STREAM by stream. */
  readonly resets: ReadonlyMap<number, number>;
  /** Streams that got a HEADERS frame. */
  readonly answered: ReadonlySet<number>;
  readonly closed: boolean;
}

/** One frame in bytes. */
export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Headers as HPACK literals without indexing. */
export function literals(headers: readonly (readonly [string, string])[]): Buffer {
  const parts = headers.flatMap(([name, value]) => [Buffer.from([0]), sized(name), sized(value)]);
  return Buffer.concat(parts);
}

function sized(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const rest = bytes.length - 127;
  const more = rest < 128 ? [rest] : [(rest & 127) | 128, rest >> 7];
  return Buffer.concat([Buffer.from([127, ...more]), bytes]);
}

const preface = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameType.settings, 0, 0)]);

/** Opens a connection, sends frames and reads until it ends or `patienceMs` have passed. */
export function rawHttp2(port: number, frames: Iterable<Buffer>, patienceMs = 2_000): Promise<Http2Exchange> {
  return new Promise((resolve) => {
    let goaway: number | undefined;
    const resets = new Map<number, number>();
    const answered = new Set<number>();
    let pending = Buffer.alloc(0);
    const socket: Socket = connect(port, "127.0.0.1");
    const finish = (closed: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ goaway, resets, answered, closed });
    };
    const timer = setTimeout(() => finish(false), patienceMs);
    socket.on("data", (chunk) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 9) {
        const length = pending.readUIntBE(0, 3);
        if (pending.length < 9 + length) return;
        const stream = pending.readUInt32BE(5) & 0x7fffffff;
        const type = pending.readUInt8(3);
        if (type === frameType.goaway) goaway = pending.readUInt32BE(13);
        if (type === frameType.rstStream) resets.set(stream, pending.readUInt32BE(9));
        if (type === frameType.headers) answered.add(stream);
        pending = pending.subarray(9 + length);
      }
    });
    socket.on("close", () => finish(true));
    // A reset ends the exchange as a close does.
    socket.on("error", () => finish(true));
    void send(socket, frames);
  });
}

async function send(socket: Socket, frames: Iterable<Buffer>): Promise<void> {
  socket.write(preface);
  for (const bytes of frames) {
    if (socket.destroyed) return;
    if (!socket.write(bytes)) await new Promise((resolve) => socket.once("drain", resolve).once("close", resolve));
  }
}
