import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { pino } from "pino";
import type { TestProject } from "vitest/node";
import { systemClock } from "../services/runtime/clock.ts";
import { startEmbeddedPostgres } from "../services/runtime/postgres/embedded.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** A connection to this port of 127.0.0.1 is answered with the URL of the run's PostgreSQL, in JSON. */
    postgresPort: number;
  }
}

/**
 * One PostgreSQL for a run of the tests. It starts when the first test asks for it: a run of pure tests does not wait
 * for a server that it does not need.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const resources = new AsyncDisposableStack();
  let url: Promise<string> | undefined;
  const answer = async (socket: Socket) => {
    url ??= startServer(resources);
    const reply = await url.then(
      (text) => ({ url: text }),
      (error: unknown) => ({ error: String(error) }),
    );
    socket.end(JSON.stringify(reply));
  };
  const doorman = createServer((socket) => void answer(socket));
  await new Promise<void>((resolve) => doorman.listen(0, "127.0.0.1", resolve));
  resources.defer(() => new Promise((resolve) => doorman.close(() => resolve())));
  project.provide("postgresPort", (doorman.address() as AddressInfo).port);
  return async () => {
    // A start that is under way has to end before it can be undone.
    await Promise.allSettled([url]);
    await resources.disposeAsync();
  };
}

async function startServer(resources: AsyncDisposableStack): Promise<string> {
  const path = await mkdtemp(join("/tmp", "weir-test-"));
  resources.defer(() => rm(path, { recursive: true, force: true }));
  const server = await startEmbeddedPostgres({
    dataDir: { path, created: true },
    clock: systemClock,
    log: pino({ level: "warn" }),
    // What the tests write need not outlive the machine's power. Crashes have tests, and servers, of their own.
    settings: { fsync: "off", synchronous_commit: "off", full_page_writes: "off", max_connections: "200" },
  });
  resources.use(server);
  return server.url;
}
