import type { ContextValues, Transport } from "@connectrpc/connect";
import { createConnectTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { weirErrorFrom } from "../errors/fail.ts";
import { callOptionsFrom, type SentHeaders } from "./call-options.ts";
import { writeMeshHeaders } from "./mesh-headers.ts";

/** A process of the installation that runs what this one does not. */
export interface PeerOptions {
  /** Its mesh listener: "http://10.0.0.5:7070". */
  readonly baseUrl: string;
  /** The installation's token. */
  readonly token: string;
}

/** Calls of one session: below the 100 that a server grants before it has said its own limit. */
const callsPerSession = 100;
/** A reset burst of one session's streams can end the session: several share the harm. */
const sessionsMax = 16;
const readMaxBytes = 32 * 1024 * 1024;

/** A transport to a peer that can be closed. */
export interface PeerTransport extends Transport, Disposable {}

interface Session {
  readonly transport: Transport;
  readonly connection: Http2SessionManager;
  calls: number;
}

/** Connect over HTTP/2 to a peer, over as many sessions as its calls need. */
export function createPeerTransport({ baseUrl, token }: PeerOptions): PeerTransport {
  const sessions: Session[] = [];

  const open = (): Session => {
    const connection = new Http2SessionManager(baseUrl, { pingIntervalMs: 10_000, pingTimeoutMs: 5_000 });
    const transport = createConnectTransport({ baseUrl, httpVersion: "2", sessionManager: connection, readMaxBytes });
    const session = { transport, connection, calls: 0 };
    sessions.push(session);
    return session;
  };

  const pick = (): Session => {
    let least = sessions[0];
    for (const session of sessions) if (least === undefined || session.calls < least.calls) least = session;
    if (least === undefined || (least.calls >= callsPerSession && sessions.length < sessionsMax)) return open();
    return least;
  };

  return {
    async unary(method, signal, timeoutMs, headers, input, values) {
      const session = pick();
      session.calls += 1;
      try {
        const sent = sentHeaders(headers, token, values);
        return await session.transport.unary(method, signal, timeoutMs, sent, input);
      } catch (thrown) {
        throw weirErrorFrom(thrown);
      } finally {
        session.calls -= 1;
      }
    },

    async stream(method, signal, timeoutMs, headers, input, values) {
      const session = pick();
      session.calls += 1;
      let over = false;
      const done = () => {
        if (!over) session.calls -= 1;
        over = true;
      };
      signal?.addEventListener("abort", done, { once: true });
      try {
        const sent = sentHeaders(headers, token, values);
        const response = await session.transport.stream(method, signal, timeoutMs, sent, input);
        return { ...response, message: counted(response.message, done) };
      } catch (thrown) {
        done();
        throw weirErrorFrom(thrown);
      }
    },

    [Symbol.dispose]() {
      for (const { connection } of sessions) connection.abort();
    },
  };
}

function sentHeaders(headers: SentHeaders, token: string, values: ContextValues | undefined): Headers {
  const sent = new Headers(headers);
  writeMeshHeaders(sent, token, callOptionsFrom(values, undefined, undefined, undefined));
  return sent;
}

/** Passes messages on and tells when there will be no more. */
function counted<T>(messages: AsyncIterable<T>, done: () => void): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = messages[Symbol.asyncIterator]();
      return {
        async next() {
          try {
            const result = await iterator.next();
            if (result.done) done();
            return result;
          } catch (thrown) {
            done();
            throw weirErrorFrom(thrown);
          }
        },
      };
    },
  };
}
