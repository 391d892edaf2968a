import type { AddressInfo, Server, Socket } from "node:net";

/** A server that is open. */
export interface OpenServer extends AsyncDisposable {
  readonly url: string;
  /** Takes no more connections and resets all that are open, as the end of its process would. */
  reset(): void;
}

/** The connections of a server. */
export interface Sockets {
  /** Ends one connection, or all, with a reset. */
  reset(peer?: string): void;
  /** Ends all connections. */
  destroy(): void;
}

/** Keeps the connections of a server by their peers' `address:port`. */
export function trackSockets(server: Server): Sockets {
  const open = new Map<string, Socket>();
  server.on("connection", (socket: Socket) => {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`;
    open.set(peer, socket);
    socket.once("close", () => open.delete(peer));
    // What a caller does to its connection is no error of ours.
    socket.on("error", () => undefined);
  });
  return {
    reset(peer) {
      const ended = peer === undefined ? [...open.values()] : [open.get(peer)];
      for (const socket of ended) socket?.resetAndDestroy();
    },
    destroy() {
      for (const socket of open.values()) socket.destroy();
    },
  };
}

/** Opens a server and tells its port; 0 lets the kernel choose one. */
export function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      const address: AddressInfo | string | null = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}
