import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import type { Clock } from "../clock.ts";
import { withMeshHeaders } from "./mesh-transport.ts";
import { PeerConnection } from "./peer-connection.ts";

/** A process of the installation that runs what this one does not. */
export interface PeerOptions {
  /** Its mesh listener: "http://10.0.0.5:7070". */
  readonly baseUrl: string;
  /** The installation's token. */
  readonly token: string;
  readonly clock: Clock;
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
  readonly connection: PeerConnection;
}

/**
 * Connect over HTTP/2 to a peer, over as many sessions as its calls need. One that is dead takes no new calls within 1.5 s of
 * its last byte; the next call opens another.
 */
export function createPeerTransport({ baseUrl, token, clock }: PeerOptions): PeerTransport {
  let sessions: Session[] = [];

  const open = (): Session => {
    sessions = sessions.filter(({ connection }) => !connection.isGone);
    const connection = new PeerConnection(baseUrl, clock);
    // Within an installation, bytes cost less than packing them does.
    const acceptCompression: [] = [];
    const options = { baseUrl, sessionManager: connection, readMaxBytes, acceptCompression };
    const plain = createConnectTransport({ ...options, httpVersion: "2" });
    const session = { transport: withMeshHeaders(plain, token), connection };
    sessions.push(session);
    return session;
  };

  const pick = (): Session => {
    let least: Session | undefined;
    let usable = 0;
    for (const session of sessions) {
      if (!session.connection.isOpen) continue;
      usable += 1;
      if (least === undefined || session.connection.calls < least.connection.calls) least = session;
    }
    if (least === undefined || (least.connection.calls >= callsPerSession && usable < sessionsMax)) return open();
    return least;
  };

  const hold = (): { session: Session; release: () => void } => {
    const session = pick();
    session.connection.begin();
    let held = true;
    const release = () => {
      if (held) session.connection.leave();
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
      const reason = new ConnectError("the way to the peer is closed", Code.Canceled);
      for (const { connection } of sessions) connection.end(reason);
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
