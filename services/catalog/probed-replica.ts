import { clone } from "@bufbuild/protobuf";
import { Dialect, type Replica, ReplicaSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Driver, ProbeResult, Target } from "../drivers/driver.ts";
import type { ModelRepository } from "../drivers/repository.ts";

/** Finds and opens drivers. */
export interface DriverDoor {
  open(dialect: Dialect, target: Target): Driver;
  /** The dialect that the server speaks. Rejects if it speaks none that is known, or does not answer. */
  detect(target: Target, signal: AbortSignal): Promise<Dialect>;
}

/** A replica as the prober asks it. */
export interface ProbedReplica extends AsyncDisposable {
  /** With the dialect that was found last, where the configuration names none. */
  readonly replica: Replica;
  ask(signal: AbortSignal): Promise<ProbeResult>;
  /** The models of its engine, to load and unload; undefined: its protocol has no such orders. Rejects as `ask` does. */
  repository(signal: AbortSignal): Promise<ModelRepository | undefined>;
}

/** A found dialect is doubted after this many failures in a row: the address may have got another engine. */
const failuresUntilDoubt = 4;

/** Asks through one driver that stays open. Where no dialect is configured, the server is asked for it first. */
export function createProbedReplica(configured: Replica, target: Target, drivers: DriverDoor): ProbedReplica {
  let replica = configured;
  let driver: Driver | undefined;
  let failures = 0;
  let doubted = configured.dialect === Dialect.UNSPECIFIED;

  async function forget(): Promise<void> {
    const old = driver;
    driver = undefined;
    await old?.[Symbol.asyncDispose]();
  }

  async function opened(signal: AbortSignal): Promise<Driver> {
    if (driver) return driver;
    if (doubted) {
      const dialect = await drivers.detect(target, signal);
      doubted = false;
      if (dialect !== replica.dialect) {
        replica = clone(ReplicaSchema, configured);
        replica.dialect = dialect;
      }
    }
    driver = drivers.open(replica.dialect, target);
    return driver;
  }

  return {
    get replica() {
      return replica;
    },
    async ask(signal) {
      try {
        const result = await (await opened(signal)).probe(signal);
        failures = 0;
        return result;
      } catch (error) {
        failures += 1;
        if (failures >= failuresUntilDoubt && configured.dialect === Dialect.UNSPECIFIED) {
          failures = 0;
          // The old one stays told meanwhile: as another replica it would lose what runs there and how it does.
          doubted = true;
          await forget();
        }
        throw error;
      }
    },
    repository: async (signal) => (await opened(signal)).repository,
    [Symbol.asyncDispose]: forget,
  };
}
