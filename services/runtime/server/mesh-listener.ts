import { createServer, type ServerHttp2Session } from "node:http2";
import type { Clock } from "../clock.ts";
import type { HttpRequest, HttpResponse } from "./app.ts";
import { type Listener, listen } from "./public.ts";

/** What serves the processes of the installation. */
export interface MeshListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly clock: Clock;
  readonly rpc: (request: HttpRequest, response: HttpResponse) => void;
}

/**
 * Callers that leave in numbers reset their streams in numbers, and Node ends a session, with everyone's streams, at
 * 1,000 in a burst. Only peers with the installation's token come here.
 */
const streamResetBurst = 100_000;
const streamResetRate = 10_000;
const streamsPerSessionMax = 1_000;

/** Opens HTTP/2 cleartext for calls between processes. */
export async function openMeshListener(options: MeshListenerOptions): Promise<Listener> {
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer(
    { settings: { maxConcurrentStreams: streamsPerSessionMax }, streamResetBurst, streamResetRate },
    options.rpc,
  );
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  });
  // A session that fails ends by itself; without a listener it would end the process.
  server.on("sessionError", () => undefined);
  const address = await listen(server, options.host, options.port);
  const close = (patienceMs: number) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = options.clock.setTimer(patienceMs, () => {
      for (const session of sessions) session.destroy();
    });
    server.close(() => {
      timer.cancel();
      resolve();
    });
    for (const session of sessions) session.close();
    return promise;
  };
  return { host: options.host, port: address.port, drain: close, [Symbol.asyncDispose]: () => close(0) };
}
