import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface SharedPortOptions {
  /** Where HTTP/2 goes, such as gRPC; undefined: it is taken, and never answered. */
  readonly http2: string | undefined;
  /** Where everything else goes. */
  readonly http1: string;
}

/** One port before two servers, as a proxy that speaks HTTP/1.1 and HTTP/2 without TLS has it. */
export interface SharedPort extends AsyncDisposable {
  /** host:port, without a scheme. */
  readonly address: string;
}

export async function startSharedPort({ http2, http1 }: SharedPortOptions): Promise<SharedPort> {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined).on("close", () => sockets.delete(socket));
  };
  const server = createServer((near) => {
    keep(near);
    near.once("data", (first) => {
      const url = first.subarray(0, 3).toString() === "PRI" ? http2 : http1;
      if (url === undefined) return;
      const { hostname, port } = new URL(url);
      const far = connect({ host: hostname, port: Number(port) });
      keep(far);
      far.write(first);
      near.pipe(far).pipe(near);
      near.once("close", () => far.destroy());
      far.once("close", () => near.destroy());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
