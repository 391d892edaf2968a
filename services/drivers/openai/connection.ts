import { Pool } from "undici";
import type { Target } from "../driver.ts";
import { connectTimeoutMs } from "../reach.ts";

/** The way to one server. */
export interface Connection extends AsyncDisposable {
  readonly pool: Pool;
  /** Where its OpenAI paths begin, such as "/v1". */
  readonly apiPath: string;
  /** Where its own paths begin; mostly empty. */
  readonly rootPath: string;
  /** Headers of every request. */
  readonly headers: Readonly<Record<string, string>>;
}

// uvicorn and cpp-httplib drop a connection that is idle for 5 s; a request must not meet that.
const keepAliveMs = 4_000;

// A stream takes a connection of its own. The router's limits are lower; this one only ends a leak.
const connectionsMax = 4_096;

/** Opens the way to a target. Connections are made when they are needed. */
export function connectionTo(target: Target): Connection {
  const url = new URL(target.url);
  const path = url.pathname.replace(/\/+$/, "");
  const versioned = /\/v\d+$/.test(path);
  const pool = new Pool(url.origin, {
    connections: connectionsMax,
    pipelining: 1,
    connect: { timeout: connectTimeoutMs },
    keepAliveTimeout: keepAliveMs,
    // Our own timers know what an engine may take; undici's do not know a long prefill from a dead peer.
    headersTimeout: 0,
    bodyTimeout: 0,
    allowH2: false,
  });
  const headers: Record<string, string> = { "accept-encoding": "identity", "user-agent": "weir" };
  if (target.engineKey !== undefined) headers["authorization"] = `Bearer ${target.engineKey}`;
  return {
    pool,
    apiPath: versioned ? path : `${path}/v1`,
    rootPath: versioned ? path.replace(/\/v\d+$/, "") : path,
    headers,
    [Symbol.asyncDispose]: () => pool.destroy(),
  };
}
