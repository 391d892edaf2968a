import { equals } from "@bufbuild/protobuf";
import {
  Dialect,
  type Replica,
  ReplicaHealth,
  type ReplicaModel,
  ReplicaModelSchema,
} from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Driver } from "../../drivers/driver.ts";
import { clean, type HealthRecord } from "./ejection.ts";
import { hash32 } from "./rendezvous.ts";

/** A replica as this router uses it: its driver, and what the router itself knows of it. */
export class Member {
  readonly id: string;
  readonly dialect: Dialect;
  readonly hash: number;
  /** Undefined until its dialect is known. */
  readonly driver: Driver | undefined;
  /** Requests that it may have at a time. */
  places: number;
  /** Requests that it has from this router. */
  inFlight = 0;
  health: HealthRecord = clean;
  /** It was taken out of the catalogue, and ends what it has. */
  leaving = false;
  /** Requests that it has from others, as far as its last probe tells. */
  #foreign = 0;
  #replica: Replica;

  constructor(replica: Replica, driver: Driver | undefined, places: number) {
    this.id = replica.id;
    this.dialect = replica.dialect;
    this.hash = hash32(replica.id);
    this.driver = driver;
    this.places = places;
    this.#replica = replica;
    this.#readLoad();
  }

  /** Whether it answers its probes. */
  get up(): boolean {
    return this.driver !== undefined && this.#replica.state?.health === ReplicaHealth.READY;
  }

  /** Its models, also while it is down. */
  get models(): readonly ReplicaModel[] {
    return this.#replica.state?.models ?? [];
  }

  /** Why it cannot be used, as its last probe tells. */
  get problem(): string {
    return this.#replica.state?.problem ?? "";
  }

  get score(): number {
    return this.inFlight + this.#foreign;
  }

  /**
   * Takes what a new probe found.
   *
   * @returns whether its models changed.
   */
  update(replica: Replica): boolean {
    const before = this.models;
    this.#replica = replica;
    this.#readLoad();
    const after = this.models;
    if (before.length !== after.length) return true;
    return before.some((model, index) => {
      const other = after[index];
      return other === undefined || !equals(ReplicaModelSchema, model, other);
    });
  }

  /** An engine reports all its requests, ours among them. */
  #readLoad(): void {
    const load = this.#replica.state?.load;
    const reported = Math.max(0, load?.running ?? 0) + Math.max(0, load?.waiting ?? 0);
    this.#foreign = Math.max(0, reported - this.inFlight);
  }
}
