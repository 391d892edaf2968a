import type { Clock, Timer } from "../../runtime/clock.ts";
import { connectTimeoutMs } from "../reach.ts";
import { Connection, type ConnectionOwner, type Exchange } from "./connection.ts";
import { createDialer, type Dialer } from "./dialer.ts";

// uvicorn and cpp-httplib drop a connection that is idle for 5 s; a request must not meet that.
const keepMsMax = 4_000;

// llama.cpp promises to keep a connection and ends it some milliseconds after a stream.
const settleMs = 50;

// A stream takes a connection of its own. The router's limits are lower; this one only ends a leak.
const connectionsMax = 4_096;

/**
 * HTTP/1.1 to one server, over connections that are kept and used again, the latest first. A request that finds none
 * idle opens one. None is sent twice: a connection that breaks under a request breaks the request, and who sent it
 * decides what becomes of it.
 *
 * A connection that carried a stream *rests* first, until the server is known to keep such connections: one that has
 * rested and stands shows it, and one that ends within the time of a rest shows that it does not.
 */
export class Http1Client implements ConnectionOwner, AsyncDisposable {
  readonly #clock: Clock;
  readonly #dialer: Dialer;
  /** All that are open, with what ends one that does not come to stand. */
  readonly #open = new Map<Connection, Timer>();
  /** The latest last. */
  readonly #idle: Connection[] = [];
  #sweep: Timer | undefined;
  #keepsAfterStreams = false;

  /** `origin`: where the server is; its path is not looked at. */
  constructor(origin: URL, clock: Clock) {
    this.#clock = clock;
    this.#dialer = createDialer(origin);
  }

  /**
   * Sends a request.
   *
   * @param request as the server shall read it, whole.
   * @returns the connection that carries it, to pause and abort it by; undefined: the exchange has been told that there is
   * none.
   */
  send(request: string, exchange: Exchange): Connection | undefined {
    const connection = this.#takeIdle() ?? this.#dial();
    if (connection === undefined)
      exchange.onBroken("unreachable", new Error(`${connectionsMax} connections to one server are open`));
    else connection.send(request, exchange);
    return connection;
  }

  idle(connection: Connection, keepMs: number, streamed: boolean): void {
    connection.idleSinceMs = this.#clock.monotonicMs();
    connection.settledMs = connection.idleSinceMs + (streamed ? settleMs : 0);
    connection.keepMs = keepMs;
    this.#idle.push(connection);
    this.#sweep ??= this.#clock.setTimer(keepMs, () => this.#endStale());
  }

  gone(connection: Connection): void {
    this.#open.get(connection)?.cancel();
    this.#open.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at < 0) return;
    this.#idle.splice(at, 1);
    if (connection.settledMs > this.#clock.monotonicMs()) this.#keepsAfterStreams = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#sweep?.cancel();
    for (const connection of Array.from(this.#open.keys()))
      connection.broke(new Error("the way to the server is closed"));
    await this.#dialer.closed();
  }

  #takeIdle(): Connection | undefined {
    const nowMs = this.#clock.monotonicMs();
    for (let at = this.#idle.length - 1; at >= 0; at--) {
      const connection = this.#idle[at];
      if (connection === undefined) break;
      if (connection.settledMs > nowMs) {
        if (!this.#keepsAfterStreams) continue;
      } else if (connection.settledMs > connection.idleSinceMs) this.#keepsAfterStreams = true;
      this.#idle.splice(at, 1);
      if (!this.#isStale(connection)) return connection;
      connection.end();
    }
    return undefined;
  }

  /** The timer may be late: a busy process reads its clock before its timers. */
  #isStale({ idleSinceMs, keepMs }: Connection): boolean {
    return this.#clock.monotonicMs() - idleSinceMs >= keepMs;
  }

  #dial(): Connection | undefined {
    if (this.#open.size >= connectionsMax) return undefined;
    const connection = new Connection(this, keepMsMax);
    const timer = this.#clock.setTimer(connectTimeoutMs, () =>
      connection.broke(new Error("the server does not answer")),
    );
    this.#open.set(connection, timer);
    this.#dialer.dial(connection, () => timer.cancel());
    return connection;
  }

  #endStale(): void {
    this.#sweep = undefined;
    for (const connection of this.#idle.filter((one) => this.#isStale(one))) connection.end();
    const [oldest] = this.#idle;
    if (oldest === undefined) return;
    const leftMs = oldest.idleSinceMs + oldest.keepMs - this.#clock.monotonicMs();
    this.#sweep = this.#clock.setTimer(Math.max(1, leftMs), () => this.#endStale());
  }
}
