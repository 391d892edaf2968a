import { clone } from "@bufbuild/protobuf";
import { Dialect, type Replica, ReplicaSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Driver, ProbeResult, Target } from "../drivers/driver.ts";
import type { ModelRepository } from "../drivers/repository.ts";
import { fail } from "../runtime/errors/fail.ts";
import { bounded } from "./bounded.ts";

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
  /**
   * Has its engine list, load or unload models. `order` is given what takes such orders; undefined: its protocol has none.
   * Rejects as `ask` and `order` do. The driver stays until `order` is done, whatever the probes find meanwhile.
   */
  order<T>(order: (repository: ModelRepository | undefined) => Promise<T>, signal: AbortSignal): Promise<T>;
}

/** A found dialect is doubted after this many failures in a row: the address may have got another engine. */
const failuresUntilDoubt = 4;

/** Finding the dialect takes longer than a probe may where a server says nothing to what it does not know. */
const detectTimeoutMs = 10_000;

/** A driver, and who uses it. */
interface Opened {
  readonly driver: Driver;
  /** Orders that run. */
  orders: number;
  /** The server is asked for its dialect again: it is closed after its last order. */
  doubted: boolean;
}

/**
 * Asks through one driver that stays open. Where no dialect is configured, the server is asked for it first, once for all
 * who want something of it meanwhile.
 */
export function createProbedReplica(configured: Replica, target: Target, drivers: DriverDoor): ProbedReplica {
  const stop = new AbortController();
  const open = new Set<Opened>();
  let replica = configured;
  let current: Promise<Opened> | undefined;
  let failures = 0;
  let doubted = configured.dialect === Dialect.UNSPECIFIED;

  function opened(signal: AbortSignal): Promise<Opened> {
    current ??= find().catch((error: unknown) => {
      current = undefined;
      throw error;
    });
    return bounded(current, signal);
  }

  async function find(): Promise<Opened> {
    if (doubted) {
      const dialect = await detect();
      doubted = false;
      failures = 0;
      if (dialect !== replica.dialect) {
        replica = clone(ReplicaSchema, configured);
        replica.dialect = dialect;
      }
    }
    if (stop.signal.aborted) throw fail(ErrorReason.CANCELLED);
    const one = { driver: drivers.open(replica.dialect, target), orders: 0, doubted: false };
    open.add(one);
    return one;
  }

  async function detect(): Promise<Dialect> {
    const late = new AbortController();
    const timer = target.clock.setTimer(detectTimeoutMs, () => late.abort());
    try {
      return await drivers.detect(target, AbortSignal.any([stop.signal, late.signal]));
    } finally {
      timer.cancel();
    }
  }

  async function close(one: Opened): Promise<void> {
    if (open.delete(one)) await one.driver[Symbol.asyncDispose]();
  }

  /** The old dialect stays told meanwhile: as another replica it would lose what runs there and how it does. */
  async function doubt(): Promise<void> {
    failures = 0;
    doubted = true;
    current = undefined;
    for (const one of open) one.doubted = true;
    const unused = [...open].filter((one) => one.orders === 0);
    await Promise.all(unused.map(close));
  }

  return {
    get replica() {
      return replica;
    },
    async ask(signal) {
      try {
        const { driver } = await opened(signal);
        const result = await driver.probe(signal);
        failures = 0;
        return result;
      } catch (error) {
        failures += 1;
        if (failures >= failuresUntilDoubt && !doubted && configured.dialect === Dialect.UNSPECIFIED) await doubt();
        throw error;
      }
    },
    async order(order, signal) {
      const one = await opened(signal);
      one.orders += 1;
      try {
        return await order(one.driver.repository);
      } finally {
        one.orders -= 1;
        if (one.doubted && one.orders === 0) await close(one);
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await Promise.all(Array.from(open, close));
    },
  };
}
