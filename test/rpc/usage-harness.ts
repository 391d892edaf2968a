import type { Client } from "@connectrpc/connect";
import type { Kysely } from "kysely";
import { UsageService } from "../../gen/ts/weir/usage/v1/usage_service_pb.ts";
import type { Clock } from "../../services/runtime/clock.ts";
import type { Identity } from "../../services/runtime/identity/identity.ts";
import { createGate } from "../../services/runtime/mesh/gate.ts";
import { createMesh } from "../../services/runtime/mesh/mesh.ts";
import { createRegistry } from "../../services/runtime/mesh/registry.ts";
import { createLog } from "../../services/runtime/telemetry/log.ts";
import { createMetrics, type Metrics } from "../../services/runtime/telemetry/metrics.ts";
import { createNodeWords } from "../../services/usage/node-words.ts";
import { usageService } from "../../services/usage/service.ts";
import type { UsageStore } from "../../services/usage/store.ts";
import { postgresUsageStore } from "../../services/usage/store-postgres.ts";
import { ownersOf } from "../fakes/project-owners.ts";
import { principal } from "./auth-harness.ts";

/** The usage service behind the gate, as a process of the installation reaches it. */
export interface UsageHarness extends AsyncDisposable {
  readonly store: UsageStore;
  readonly usage: Client<typeof UsageService>;
  readonly metrics: Metrics;
  /** Lines of the log, parsed. */
  readonly lines: Record<string, unknown>[];
}

const nobody: Identity = { authenticate: () => principal(), onRevoked: () => () => {} };

/** Starts it over a database that has its schema; acme has the projects one and two, umbrella has one. */
export function startUsage(
  db: Kysely<unknown>,
  { clock, time = clock, retentionMs }: { readonly clock: Clock; readonly time?: Clock; readonly retentionMs: number },
): UsageHarness {
  const lines: Record<string, unknown>[] = [];
  const log = createLog("info", { write: (line) => void lines.push(JSON.parse(line)) });
  const metrics = createMetrics();
  const registry = createRegistry();
  const owners = ownersOf({ "acme-one": "acme", "acme-two": "acme", "umbrella-one": "umbrella" });
  const gate = createGate({ clock, log, metrics, identity: nobody, owners });
  const mesh = createMesh({ registry, gate, clock, peers: {}, token: "" });
  const store = postgresUsageStore(db, { clock, chance: () => 0.5 });
  const words = createNodeWords(store, { clock, log });
  registry.add(UsageService, usageService({ store, words, clock, time, log, metrics, retentionMs }));
  return {
    store,
    usage: mesh.client(UsageService),
    metrics,
    lines,
    [Symbol.asyncDispose]: () => words[Symbol.asyncDispose](),
  };
}
