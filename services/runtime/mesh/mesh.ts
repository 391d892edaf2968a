import type { DescMethodServerStreaming, DescService } from "@bufbuild/protobuf";
import type { Client, Transport } from "@connectrpc/connect";
import type { Clock } from "../clock.ts";
import type { Mesh } from "../role.ts";
import { createMeshClient } from "./client.ts";
import { createDirectPush, createDirectTransport } from "./direct.ts";
import type { Gate } from "./gate.ts";
import { createPeerTransport, type PeerTransport } from "./peer.ts";
import type { PushCall } from "./push.ts";
import { pushToPeer } from "./peer-push.ts";
import type { Registry } from "./registry.ts";

/** What a process reaches services through. */
export interface MeshOptions {
  readonly registry: Registry;
  readonly gate: Gate;
  readonly clock: Clock;
  /** Base URL of the process that runs a role which this one does not, by role: {auth: "http://10.0.0.5:7070"}. */
  readonly peers: Readonly<Record<string, string>>;
  /** The installation's token. */
  readonly token: string;
}

/**
 * Hands out clients of services wherever those run: in this process, if it has the service at the time of the call,
 * else at the peer that runs its role. A service that is in neither is SERVICE_UNAVAILABLE.
 */
export function createMesh(options: MeshOptions): Mesh & Disposable {
  const { registry, peers, token, clock } = options;
  const direct = createDirectTransport(options);
  const remote = new Map<string, PeerTransport>();

  const peerOf = (service: DescService): PeerTransport | undefined => {
    const baseUrl = peers[roleOf(service)];
    if (baseUrl === undefined) return undefined;
    const known = remote.get(baseUrl) ?? createPeerTransport({ baseUrl, token, clock });
    remote.set(baseUrl, known);
    return known;
  };

  const reach = (service: DescService): Transport => (registry.has(service) ? direct : (peerOf(service) ?? direct));

  const transport: Transport = {
    unary: (method, ...rest) => reach(method.parent).unary(method, ...rest),
    stream: (method, ...rest) => reach(method.parent).stream(method, ...rest),
  };

  return {
    client<S extends DescService>(service: S): Client<S> {
      return createMeshClient(service, transport);
    },
    push<M extends DescMethodServerStreaming>(method: M): PushCall<M> {
      const here = createDirectPush(options, method);
      return (request, context, sink) => {
        if (registry.has(method.parent)) return here(request, context, sink);
        const peer = peerOf(method.parent);
        return peer ? pushToPeer(peer, clock, method, request, context, sink) : here(request, context, sink);
      };
    },
    [Symbol.dispose]() {
      for (const peer of remote.values()) peer[Symbol.dispose]();
    },
  };
}

/** The role that serves a package: auth serves weir.auth.v1, and acme an extension's acme.v1. */
function roleOf(service: DescService): string {
  const [first = "", second = ""] = service.file.proto.package.split(".");
  return first === "weir" ? second : first;
}
