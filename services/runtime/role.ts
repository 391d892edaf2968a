import type { DescMethodServerStreaming, DescService } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";
import type { Logger } from "pino";
import type { Clock } from "./clock.ts";
import type { Settings } from "./config/settings.ts";
import type { PoolLimits } from "./database.ts";
import type { Identity } from "./identity/identity.ts";
import type { PushCall } from "./mesh/push.ts";
import type { RegisteredService, ServiceImplementation } from "./mesh/registry.ts";
import type { HttpApp } from "./server/app.ts";
import type { ClientAddress } from "./server/client-address.ts";
import type { Metrics } from "./telemetry/metrics.ts";

/** Typed clients of services, wherever those run. */
export interface Mesh {
  /** A Connect client; calls take `CallOptions` through `withCallOptions(options)`. */
  client<S extends DescService>(service: S): Client<S>;
  /** A server-streaming method in its push form. */
  push<M extends DescMethodServerStreaming>(method: M): PushCall<M>;
}

/** Where a role offers its services; every transport and listener serves what is here. */
export interface ServiceRegistry {
  add<S extends DescService>(service: S, implementation: ServiceImplementation<S>): void;
  /** Everything that is offered here up to now. */
  services(): readonly RegisteredService[];
}

/** The public port, for endpoints that are plain HTTP. */
export interface HttpDoor {
  add(app: HttpApp): void;
  /** The caller's address, seen through trusted proxies. */
  readonly clientAddress: ClientAddress;
}

/** What a process gives to the roles that it runs. */
export interface Runtime {
  readonly settings: Settings;
  /** What this node is called among the nodes of the installation: the same after a restart. */
  readonly nodeId: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly mesh: Mesh;
  readonly services: ServiceRegistry;
  readonly http: HttpDoor;
  readonly identity: Identity;
  /** The role's own PostgreSQL schema, migrated. */
  database<T>(schema: string, migrations: Readonly<Record<string, Migration>>): Promise<Kysely<T>>;
  /** Connections of the role's own to the same database, for queries that take long. */
  databaseAside<T>(limits: PoolLimits): Kysely<T>;
  /** A secret of the installation that the named purpose alone uses, derived from the mesh token: 32 bytes. */
  derivedSecret(purpose: string): Uint8Array;
  /** Adds a check to /readyz: undefined when ready, else why not. */
  readiness(name: string, check: () => string | undefined): void;
  /** Where the installation's first key is, for the lines printed at the start; with the key itself if it was just made. */
  announceAdminKey(file: string, key: string | undefined): void;
}

/** A part of the product that a process can run. Extensions export one as `role`. */
export interface Role {
  readonly name: string;
  /** Builds the role and registers its services. Disposing it ends everything that it started. */
  start(runtime: Runtime): Promise<AsyncDisposable>;
}
