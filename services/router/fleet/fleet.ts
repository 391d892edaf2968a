import type { WatchResponse, WatchResponse_Change } from "../../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import type { Model, Tokenizer } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import type { Pool } from "../../../gen/ts/weir/catalog/v1/pool_pb.ts";
import { Dialect, type Replica } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Driver, Target } from "../../drivers/driver.ts";
import { targetFrom } from "../../drivers/target.ts";
import type { Clock } from "../../runtime/clock.ts";
import { CatalogView } from "./catalog-view.ts";
import { Member } from "./member.ts";
import { Seat } from "./seat.ts";
import { Standing } from "./standing.ts";

/** A model that can be asked for, with the replicas that are known to have it. Replaced, never changed. */
export interface ModelEntry {
  readonly model: Model;
  readonly pool: Pool;
  /** The pool's replicas, also those that have not told of the model. */
  readonly members: readonly Member[];
  readonly seats: readonly Seat[];
}

export interface FleetOptions {
  readonly clock: Clock;
  /** Undefined: this process does not speak the dialect. */
  readonly openDriver: (dialect: Dialect, target: Target) => Driver | undefined;
  /** Something of a pool changed: who waits for it should look again. */
  readonly changed: (poolId: string) => void;
  /** A driver that was to be closed did not close well. */
  readonly closeFailed: (replicaId: string, error: unknown) => void;
}

/** Requests at one replica at a time where neither the pool nor the engine says: more than engines batch. */
const placesDefault = 256;

/**
 * The replicas as this router uses them. It follows the catalogue: a replica that comes gets a driver; one that goes,
 * or whose address, key or times change, sends no more requests there and loses its driver when its last request has
 * ended. What runs at a replica and how it does is known of the replica, not of a driver: with another one at the same
 * address it is the same.
 */
export class Fleet implements AsyncDisposable {
  readonly #options: FleetOptions;
  readonly #view = new CatalogView();
  readonly #entries = new Map<string, ModelEntry>();
  readonly #members = new Map<string, { readonly member: Member; readonly bounds: string }>();
  readonly #leaving = new Set<Member>();
  readonly #closing = new Set<Promise<void>>();
  /** While a snapshot comes in: the pools that it has changed so far. */
  #pending: Set<string> | undefined;
  #synced = false;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  /** Whether the catalogue was seen whole, once. */
  get synced(): boolean {
    return this.#synced;
  }

  /** The model of a name or alias; undefined: there is none, or its pool is not known. */
  resolve(name: string): ModelEntry | undefined {
    return this.#entries.get(name) ?? this.#entries.get(this.#view.aliases.get(name)?.modelId ?? "");
  }

  /** The names of all models and aliases, in no order. */
  *names(): Iterable<string> {
    yield* this.#entries.keys();
    for (const id of this.#view.aliases.keys()) if (!this.#entries.has(id)) yield id;
  }

  /** The ids of all models. */
  models(): Iterable<string> {
    return this.#entries.keys();
  }

  /** The tokenizers of a pool's models. */
  tokenizers(poolId: string): readonly Tokenizer[] {
    const entries = [...this.#entries.values()].filter(({ pool }) => pool.id === poolId);
    return entries.flatMap(({ model }) => model.tokenizer ?? []);
  }

  /** A new watch begins: its snapshot comes. */
  begin(): void {
    this.#view.begin();
    this.#pending ??= new Set();
  }

  /** Takes one step of the watch. Until a snapshot is complete, what was known before it stays in use. */
  apply({ event }: WatchResponse): void {
    if (event.case === "change") {
      const touched = this.#view.apply(event.value);
      if (this.#pending) for (const poolId of touched) this.#pending.add(poolId);
      else if (!this.#tookState(event.value)) for (const poolId of touched) this.#rebuild(poolId);
    } else if (event.case === "snapshotEnd") {
      const pools = new Set([...(this.#pending ?? []), ...this.#view.end()]);
      this.#pending = undefined;
      this.#synced = true;
      for (const poolId of pools) this.#rebuild(poolId);
    }
  }

  /** A request leaves the replica. */
  leave(member: Member): void {
    member.leave();
    if (!member.busy && this.#leaving.delete(member)) this.#close(member);
  }

  /**
   * Most changes are a probe's: the replica and its models are the same, and only its state is new.
   *
   * @returns whether that was all.
   */
  #tookState({ resource, deleted }: WatchResponse_Change): boolean {
    if (resource.case !== "replica" || deleted) return false;
    const { id } = resource.value;
    const replica = this.#view.replicas.get(id);
    const known = this.#members.get(id);
    const pool = this.#view.pools.get(resource.value.poolId);
    if (!replica || !known || !pool || known.member.standing.poolId !== pool.id) return false;
    if (known.bounds !== boundsOf(replica, this.#target(replica, pool))) return false;
    const wasUp = known.member.up;
    if (known.member.update(replica)) return false;
    if (known.member.up !== wasUp) this.#options.changed(pool.id);
    return true;
  }

  /** Makes the pool's replicas and models anew from the catalogue. */
  #rebuild(poolId: string): void {
    const pool = this.#view.pools.get(poolId);
    const members: Member[] = [];
    for (const replica of this.#view.replicas.values()) {
      if (pool && replica.poolId === poolId) members.push(this.#member(replica, pool));
    }
    for (const [id, { member }] of this.#members) {
      if (member.standing.poolId !== poolId || members.includes(member)) continue;
      this.#members.delete(id);
      member.leaving = true;
      this.#retire(member);
    }
    for (const [id, entry] of this.#entries) if (entry.pool.id === poolId) this.#entries.delete(id);
    if (pool) {
      for (const model of this.#view.models.values()) {
        if (model.poolId === poolId) this.#entries.set(model.id, this.#entry(model, pool, members));
      }
    }
    this.#options.changed(poolId);
  }

  #entry(model: Model, pool: Pool, members: readonly Member[]): ModelEntry {
    const seats = members.flatMap((member) =>
      member.models.filter(({ modelId }) => modelId === model.id).map((served) => new Seat(served, member, model)),
    );
    return { model, pool, members, seats };
  }

  #member(replica: Replica, pool: Pool): Member {
    const target = this.#target(replica, pool);
    const bounds = boundsOf(replica, target);
    const places = pool.concurrencyMax || placesDefault;
    const known = this.#members.get(replica.id);
    if (known?.bounds === bounds) {
      known.member.update(replica);
      known.member.places = places;
      known.member.standing.poolId = pool.id;
      return known.member;
    }
    const driver =
      replica.dialect === Dialect.UNSPECIFIED ? undefined : this.#options.openDriver(replica.dialect, target);
    const member = new Member(replica, driver, places, this.#standing(replica));
    member.standing.poolId = pool.id;
    this.#members.set(replica.id, { member, bounds });
    if (known) this.#retire(known.member);
    return member;
  }

  /** Those with an open driver. */
  #all(): readonly Member[] {
    return [...Array.from(this.#members.values(), ({ member }) => member), ...this.#leaving];
  }

  #target(replica: Replica, pool: Pool): Target {
    return targetFrom(replica, pool, this.#options.clock);
  }

  /** What is known of the replica, as long as a driver to its address is open. */
  #standing({ id, url, poolId }: Replica): Standing {
    const same = this.#all().find((member) => member.id === id && member.url === url);
    return same?.standing ?? new Standing(poolId, this.#options.clock, (pool) => this.#options.changed(pool));
  }

  #retire(member: Member): void {
    if (member.busy) this.#leaving.add(member);
    else this.#close(member);
  }

  #close(member: Member): void {
    const { id, driver, standing } = member;
    if (this.#all().every((other) => other.standing !== standing)) standing[Symbol.dispose]();
    if (!driver) return;
    const closing = close(driver).catch((error: unknown) => this.#options.closeFailed(id, error));
    this.#closing.add(closing);
    void closing.finally(() => this.#closing.delete(closing));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = this.#all();
    this.#members.clear();
    this.#leaving.clear();
    this.#entries.clear();
    for (const member of all) this.#close(member);
    await Promise.all(this.#closing);
  }
}

async function close(driver: Driver): Promise<void> {
  await driver[Symbol.asyncDispose]();
}

/** What a driver is opened with: when it changes, a new one is opened. */
function boundsOf({ dialect }: Replica, { clock: _clock, ...told }: Target): string {
  return JSON.stringify({ dialect, ...told });
}
