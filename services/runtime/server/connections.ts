import type { Socket } from "node:net";

/** The open connections of a listener, counted by address. */
export interface Connections {
  /** Takes a connection, or says that its address has as many as it may. */
  admit(socket: Socket): boolean;
  readonly size: number;
  /** Resolves when none is left. */
  empty(): Promise<void>;
  destroyAll(): void;
}

/** Counts connections and holds each address to its share. */
export function createConnections(perAddressMax: number): Connections {
  const open = new Set<Socket>();
  const byAddress = new Map<string, number>();
  let waiting: (() => void)[] = [];
  return {
    admit(socket) {
      const address = socket.remoteAddress ?? "";
      const count = byAddress.get(address) ?? 0;
      if (count >= perAddressMax) return false;
      byAddress.set(address, count + 1);
      open.add(socket);
      socket.once("close", () => {
        open.delete(socket);
        const left = (byAddress.get(address) ?? 1) - 1;
        if (left === 0) byAddress.delete(address);
        else byAddress.set(address, left);
        if (open.size === 0) for (const resolve of waiting.splice(0)) resolve();
      });
      return true;
    },
    get size() {
      return open.size;
    },
    empty() {
      if (open.size === 0) return Promise.resolve();
      return new Promise((resolve) => {
        waiting = [...waiting, resolve];
      });
    },
    destroyAll() {
      for (const socket of open) socket.destroy();
    },
  };
}
