import { createServer, type Server } from "node:net";

/**
 * Ports of 127.0.0.1 that were free a moment ago, for servers that cannot be told "any port". Somebody else may take
 * one before the server does: start again with new ones then.
 */
export async function freePorts(count: number): Promise<number[]> {
  // All are held before the first is given back, so that they differ.
  const servers = await Promise.all(Array.from({ length: count }, listen));
  const ports = servers.map(portOf);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function listen(): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(server));
  });
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no TCP port");
  return address.port;
}
