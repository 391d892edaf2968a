import { once } from "node:events";
import { connect, createServer, type NetConnectOpts, type Socket } from "node:net";

/**
 * A network of our own between two processes, which can be cut and healed.
 *
 * - `open`: bytes pass.
 * - `cut`: connections are reset, and new ones are as soon as they come.
 * - `silent`: connections stay, new ones are accepted, and nothing passes: a network that swallows packets.
 * - `stranded`: so it is with the connections that are there, and new ones pass: a firewall that has forgotten them.
 */
export interface CutProxy extends AsyncDisposable {
  readonly port: number;
  /** Where it leads from now on. */
  target: NetConnectOpts | undefined;
  open(): void;
  cut(): void;
  silence(): void;
  strand(): void;
}

/** Starts one on a port that the kernel chooses. Without a target connections are reset. */
export async function startCutProxy(target?: NetConnectOpts): Promise<CutProxy> {
  let state: "open" | "cut" | "silent" = "open";
  const sockets = new Set<Socket>();
  /** Those through which nothing passes. */
  const silent = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => {
      sockets.delete(socket);
      silent.delete(socket);
    });
    // The other side is told by the close.
    socket.on("error", () => undefined);
    if (state === "silent") hush(socket);
  };
  const hush = (socket: Socket) => {
    silent.add(socket);
    socket.pause();
  };
  const resetAll = () => {
    // A unix socket knows no resets.
    for (const socket of sockets) {
      if (socket.remoteAddress === undefined) socket.destroy();
      else socket.resetAndDestroy();
    }
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    if (state === "cut" || proxy.target === undefined) return void near.on("error", () => undefined).resetAndDestroy();
    const far = connect({ ...proxy.target, allowHalfOpen: true });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      keep(one);
      one.on("data", (bytes) => {
        if (!other.write(bytes)) one.pause();
      });
      one.on("drain", () => !silent.has(other) && other.resume());
      one.on("end", () => other.end());
      one.on("close", () => other.destroy());
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const proxy: CutProxy = {
    port: typeof address === "object" ? (address?.port ?? 0) : 0,
    target,
    open() {
      state = "open";
      silent.clear();
      for (const socket of sockets) socket.resume();
    },
    cut() {
      state = "cut";
      resetAll();
    },
    silence() {
      state = "silent";
      for (const socket of sockets) hush(socket);
    },
    strand() {
      state = "open";
      for (const socket of sockets) hush(socket);
    },
    async [Symbol.asyncDispose]() {
      resetAll();
      server.close();
      await once(server, "close");
    },
  };
  return proxy;
}
