import type { Client } from "@connectrpc/connect";
import { pino } from "pino";
import { AuthService } from "../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { peppersFrom } from "../../services/auth/pepper.ts";
import { authService } from "../../services/auth/service-auth.ts";
import { fail, WeirError } from "../../services/runtime/errors/fail.ts";
import { createIdentity, type Identity } from "../../services/runtime/identity/identity.ts";
import { createGate } from "../../services/runtime/mesh/gate.ts";
import { createMesh } from "../../services/runtime/mesh/mesh.ts";
import { createRegistry } from "../../services/runtime/mesh/registry.ts";
import { createMetrics } from "../../services/runtime/telemetry/metrics.ts";
import { FakeCredentialStore } from "./credential-store.ts";
import { ownersOf } from "./project-owners.ts";
import { SimulatedClock } from "./simulated-clock.ts";

export const pepper = "a-pepper-of-43-characters-0123456789abcdefg";
export const staleMaxMs = 600_000;
const address = "192.0.2.1";

type Answer = Principal | WeirError;

/** A process with the real auth service over keys in memory, behind the real gate, in simulated time. */
export interface IdentityProcess {
  readonly clock: SimulatedClock;
  readonly store: FakeCredentialStore;
  readonly identity: Identity & AsyncDisposable;
  readonly auth: Client<typeof AuthService>;
  /** What was logged. */
  readonly lines: readonly string[];
  readonly ask: (key: string, from?: string) => Promise<Answer>;
  /** The answer, which has to be there at once. */
  readonly askWarm: (key: string, from?: string) => Answer;
}

export function startIdentity(badKeysPerMinuteMax = 600): IdentityProcess {
  const lines: string[] = [];
  const log = pino({}, { write: (line) => void lines.push(line) });
  const peppers = peppersFrom(pepper);
  const clock = new SimulatedClock();
  const store = new FakeCredentialStore(clock, peppers);
  const registry = createRegistry();
  registry.add(AuthService, authService({ store, peppers, clock, log }));
  const nobody: Identity = { authenticate: () => fail(ErrorReason.INTERNAL), onRevoked: () => () => {} };
  const gate = createGate({
    clock,
    log,
    metrics: createMetrics(),
    identity: nobody,
    owners: ownersOf({ project1: "org1", project2: "org1", project3: "org2" }),
  });
  const mesh = createMesh({ registry, gate, clock, peers: {}, token: "" });
  const auth = mesh.client(AuthService);
  const identity = createIdentity({ auth, clock, log, staleMaxMs, badKeysPerMinuteMax });
  return {
    clock,
    store,
    identity,
    auth,
    lines,
    ask: async (key, from = address) => identity.authenticate(key, from),
    askWarm(key, from = address) {
      const answer = identity.authenticate(key, from);
      if (answer instanceof Promise) throw new Error("it asked");
      return answer;
    },
  };
}

/** A key's id, or why it was refused. */
export function told(answer: Answer): string | ErrorReason {
  return answer instanceof WeirError ? answer.reason : answer.keyId;
}

/** The id in a key. */
export const idOf = (key: string) => key.slice(5, 17);
