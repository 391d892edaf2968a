import { connect as connectNet, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Connection } from "./connection.ts";

/** Opens connections to one server. */
export interface Dialer {
  /** Gives the connection its socket, and tells it what comes of that. `stood` is called when it stands. */
  dial(connection: Connection, stood: () => void): void;
  /** Resolves when no socket is left. */
  closed(): Promise<void>;
}

/** How soon the system begins to ask a silent peer whether it is there. */
const probeAfterMs = 60_000;

/**
 * All connections without TLS read into one buffer: it is lent to the reader for the moment of one read, so that bytes
 * come without a buffer, and a turn of the stream machinery, of their own.
 */
const shared = Buffer.allocUnsafeSlow(65_536);
/** A record of TLS holds no more; decrypting may come between two reads, so that each connection has its own. */
const recordBytes = 16_384;

/** Builds the dialer of an origin: http or https, a name or an address. */
export function createDialer(origin: URL): Dialer {
  const host = origin.hostname.replace(/^\[|\]$/g, "");
  const isSecure = origin.protocol === "https:";
  const port = Number(origin.port) || (isSecure ? 443 : 80);
  const sockets = new Set<Socket>();
  let session: Buffer | undefined;
  let waiting: (() => void)[] = [];

  function open(connection: Connection): Socket {
    const buffer = isSecure ? Buffer.allocUnsafeSlow(recordBytes) : shared;
    const callback = (length: number) => {
      connection.read(buffer, length);
      return true;
    };
    const onread = { buffer, callback };
    if (!isSecure) return connectNet({ host, port, onread });
    const options = { host, port, onread, servername: isIP(host) ? "" : host, ALPNProtocols: ["http/1.1"] };
    const socket = connectTls(session ? { ...options, session } : options);
    // The next handshake is shorter by what this one has agreed on.
    return socket.on("session", (agreed) => {
      session = agreed;
    });
  }

  return {
    dial(connection, stood) {
      const socket = open(connection);
      sockets.add(socket);
      connection.open(socket);
      socket.once(isSecure ? "secureConnect" : "connect", () => {
        socket.setNoDelay(true);
        socket.setKeepAlive(true, probeAfterMs);
        stood();
        connection.stands();
      });
      socket.once("end", () => connection.ended());
      socket.on("error", (error) => connection.broke(error));
      socket.once("close", () => {
        sockets.delete(socket);
        connection.broke(undefined);
        if (sockets.size === 0) for (const resolve of waiting.splice(0)) resolve();
      });
    },
    closed() {
      if (sockets.size === 0) return Promise.resolve();
      return new Promise((resolve) => {
        waiting = [...waiting, resolve];
      });
    },
  };
}
