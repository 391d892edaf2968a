import type { Transport } from "@connectrpc/connect";
import { createConnectTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { withMeshHeaders } from "./mesh-transport.ts";

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
/** The longest answer is 2,048 embeddings: of 4,096 dimensions they are 32 MiB and a little. */
const readMaxBytes = 64 * 1024 * 1024;

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
    // Within an installation, bytes cost less than packing them does.
    const acceptCompression: [] = [];
    const options = { baseUrl, sessionManager: connection, readMaxBytes, acceptCompression };
    const plain = createConnectTransport({ ...options, httpVersion: "2" });
    const session = { transport: withMeshHeaders(plain, token), connection, calls: 0 };
    sessions.push(session);
    return session;
  };

  const pick = (): Session => {
    let least = sessions[0];
    for (const session of sessions) if (least === undefined || session.calls < least.calls) least = session;
    if (least === undefined || (least.calls >= callsPerSession && sessions.length < sessionsMax)) return open();
    return least;
  };

  const hold = (): { session: Session; release: () => void } => {
    const session = pick();
    session.calls += 1;
    let held = true;
    const release = () => {
      if (held) session.calls -= 1;
      held = false;
    };
    return { session, release };
  };

  return {
    async unary(method, signal, timeoutMs, headers, input, values) {
      const { session, release } = hold();
      try {
        return await session.transport.unary(method, signal, timeoutMs, headers, input, values);
      } finally {
        release();
      }
    },

    async stream(method, signal, timeoutMs, headers, input, values) {
      const { session, release } = hold();
      signal?.addEventListener("abort", release, { once: true });
      try {
        const response = await session.transport.stream(method, signal, timeoutMs, headers, input, values);
        return { ...response, message: whenOver(response.message, release) };
      } catch (thrown) {
        release();
        throw thrown;
      }
    },

    [Symbol.dispose]() {
      for (const { connection } of sessions) connection.abort();
    },
  };
}

/** Passes messages on, and tells when there will be no more. */
function whenOver<T>(messages: AsyncIterable<T>, over: () => void): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = messages[Symbol.asyncIterator]();
      return {
        async next() {
          try {
            const result = await iterator.next();
            if (result.done) over();
            return result;
          } catch (thrown) {
            over();
            throw thrown;
          }
        },
      };
    },
  };
}
