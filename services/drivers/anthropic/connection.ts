import { credentialHeader } from "../credential.ts";
import type { Target } from "../driver.ts";
import { type Connection, connectionTo } from "../http/connection.ts";

/**
 * The version of the API that is spoken. Later ones add members to answers and take some from requests; every server, and
 * every proxy in front of one, knows this one.
 */
const version = "2023-06-01";

/** Opens the way to a server, with the target's key where this API wants it. */
export function anthropicConnection(target: Target): Connection {
  const own = credentialHeader(target, (key) => ({ "x-api-key": key }));
  return connectionTo(target, { "anthropic-version": version, ...own });
}
