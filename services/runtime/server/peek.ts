import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";

/** What the first bytes of a connection announce. */
export type Protocol = "http1" | "http2" | "tls" | "silent";

/** "PRI" begins an HTTP/2 preface and no HTTP/1 method that anyone uses; 0x16 begins a TLS handshake. */
function protocolOf(bytes: Uint8Array): Protocol | undefined {
  if (bytes[0] === 0x16) return "tls";
  const preface = [0x50, 0x52, 0x49];
  for (let i = 0; i < preface.length; i++) {
    if (bytes[i] === undefined) return undefined;
    if (bytes[i] !== preface[i]) return "http1";
  }
  return "http2";
}

/**
 * Waits for the bytes that tell HTTP/1 from HTTP/2, puts them back and says which. "silent": they did not come within
 * `patienceMs`, or the connection ended first.
 */
export function peekProtocol(
  socket: Socket,
  clock: Clock,
  patienceMs: number,
  decided: (protocol: Protocol) => void,
): void {
  let seen: Buffer = Buffer.alloc(0);
  const timer = clock.setTimer(patienceMs, () => settle("silent"));
  const settle = (protocol: Protocol) => {
    timer.cancel();
    socket.off("readable", look);
    socket.off("close", gone);
    socket.off("error", gone);
    if (seen.length > 0) socket.unshift(seen);
    decided(protocol);
  };
  const gone = () => settle("silent");
  const look = () => {
    const bytes: unknown = socket.read();
    if (!Buffer.isBuffer(bytes)) return;
    seen = seen.length === 0 ? bytes : Buffer.concat([seen, bytes]);
    const protocol = protocolOf(seen);
    if (protocol !== undefined) settle(protocol);
  };
  socket.on("readable", look);
  socket.on("close", gone);
  socket.on("error", gone);
}
