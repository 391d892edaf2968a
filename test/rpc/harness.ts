import { createServer, type Http2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import { create } from "@bufbuild/protobuf";
import type { Client, Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { type Principal, PrincipalSchema, Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { Audience } from "../../gen/ts/weir/policy/v1/policy_pb.ts";
import { fail, type WeirError } from "../../services/runtime/errors/fail.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import type { Identity } from "../../services/runtime/identity/identity.ts";
import { createMeshClient } from "../../services/runtime/mesh/client.ts";
import { connectRoutes } from "../../services/runtime/mesh/connect.ts";
import { createDirectTransport } from "../../services/runtime/mesh/direct.ts";
import { createGate } from "../../services/runtime/mesh/gate.ts";
import { withMeshHeaders } from "../../services/runtime/mesh/mesh-transport.ts";
import { createMesh } from "../../services/runtime/mesh/mesh.ts";
import { createPeerTransport } from "../../services/runtime/mesh/peer.ts";
import { createRegistry } from "../../services/runtime/mesh/registry.ts";
import type { Mesh } from "../../services/runtime/role.ts";
import { createLog } from "../../services/runtime/telemetry/log.ts";
import { createMetrics, type Metrics } from "../../services/runtime/telemetry/metrics.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import { ProbeService } from "./gen/acceptance/v1/probe_service_pb.ts";
import { createGrpcJsTransport } from "./grpc-js-transport.ts";
import { createProbe, ProbeLog } from "./probe.ts";
import { ownersOf } from "../fakes/project-owners.ts";
import { rpcAdapter } from "../../services/runtime/server/rpc-adapter.ts";

/** How calls reach the handlers. */
export const transports = ["direct", "Connect over HTTP/2", "gRPC by connect-es", "gRPC by grpc-js"] as const;
export type TransportName = (typeof transports)[number];

export const meshToken = "mesh-token-of-the-suite";

/** One process that serves the probe, and a client of it. */
export interface Harness extends AsyncDisposable {
  readonly client: Client<typeof ProbeService>;
  /** Of the same services: in this process for "direct", else at a peer. */
  readonly mesh: Mesh;
  readonly probe: ProbeLog;
  readonly clock: SimulatedClock;
  readonly metrics: Metrics;
  readonly identity: FakeIdentity;
  /** Base URL of the public listener. */
  readonly publicUrl: string;
  /** Base URL of the mesh listener. */
  readonly meshUrl: string;
  /** Lines of the log, parsed. */
  readonly lines: Record<string, unknown>[];
}

/** A key that the suite's identity knows. */
export function principal(init: Partial<Principal> = {}): Principal {
  return create(PrincipalSchema, {
    keyId: "key1",
    orgId: "org1",
    projectId: "project1",
    reach: Reach.PROJECT,
    permissions: ["models.read"],
    ...init,
  });
}

/** Knows keys by table, and tells of revocations when the suite says so. */
export class FakeIdentity implements Identity {
  readonly keys = new Map<string, Principal>();
  readonly #listeners = new Map<string, Set<(error: WeirError) => void>>();

  authenticate(credential: string): Principal | WeirError {
    return this.keys.get(credential) ?? fail(ErrorReason.CREDENTIAL_INVALID);
  }

  onRevoked(keyId: string, listener: (error: WeirError) => void): () => void {
    const listeners = this.#listeners.get(keyId) ?? new Set();
    this.#listeners.set(keyId, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  revoke(keyId: string): void {
    for (const listener of Array.from(this.#listeners.get(keyId) ?? [])) {
      listener(fail(ErrorReason.KEY_REVOKED, { key_id: keyId }));
    }
  }

  get watched(): number {
    return [...this.#listeners.values()].reduce((sum, listeners) => sum + listeners.size, 0);
  }
}

/** Starts everything that a transport needs. */
export async function createHarness(name: TransportName): Promise<Harness> {
  const clock = new SimulatedClock();
  const metrics = createMetrics();
  const identity = new FakeIdentity();
  const lines: Record<string, unknown>[] = [];
  const log = createLog("info", { write: (line) => void lines.push(JSON.parse(line)) });
  const registry = createRegistry();
  const probe = new ProbeLog();
  registry.add(ProbeService, createProbe(probe));
  const gate = createGate({
    clock,
    log,
    metrics,
    identity,
    owners: ownersOf({ project1: "org1", project2: "org1", project3: "org2" }),
  });
  const shared = { registry, gate, identity, meshToken, readMaxBytes: 1024 * 1024 };
  const adapt = (audience: Audience) =>
    rpcAdapter({
      routes: connectRoutes({ ...shared, audience }),
      clock: systemClock,
      requestTimeoutMs: 30_000,
      fallback: (_request, response) => {
        response.writeHead(404);
        response.end();
      },
    });
  const peers = await serve(adapt(Audience.MESH));
  const callers = await serve(adapt(Audience.PUBLIC));
  const { transport, close } = open(name, peers.url, createDirectTransport({ registry, gate, clock }));
  const here = name === "direct";
  const mesh = createMesh({
    registry: here ? registry : createRegistry(),
    gate,
    clock,
    peers: { acceptance: peers.url },
    token: meshToken,
  });
  return {
    client: createMeshClient(ProbeService, transport),
    mesh,
    probe,
    clock,
    metrics,
    identity,
    publicUrl: callers.url,
    meshUrl: peers.url,
    lines,
    async [Symbol.asyncDispose]() {
      close();
      mesh[Symbol.dispose]();
      await peers.close();
      await callers.close();
    },
  };
}

function open(name: TransportName, baseUrl: string, direct: Transport): { transport: Transport; close: () => void } {
  switch (name) {
    case "direct":
      return { transport: direct, close: () => undefined };
    case "Connect over HTTP/2": {
      const peer = createPeerTransport({ baseUrl, token: meshToken, clock: systemClock });
      return { transport: peer, close: () => peer[Symbol.dispose]() };
    }
    case "gRPC by connect-es":
      return { transport: withMeshHeaders(createGrpcTransport({ baseUrl }), meshToken), close: () => undefined };
    case "gRPC by grpc-js": {
      const grpc = createGrpcJsTransport(baseUrl);
      return { transport: withMeshHeaders(grpc, meshToken), close: () => grpc.close() };
    }
  }
}

async function serve(handler: ReturnType<typeof rpcAdapter>): Promise<{ url: string; close(): Promise<void> }> {
  const server: Http2Server = createServer(handler);
  const sessions = new Set<{ destroy(): void }>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    session.on("error", () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close() {
      for (const session of sessions) session.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
