import { equals } from "@bufbuild/protobuf";
import {
  Dialect,
  type Replica,
  ReplicaHealth,
  type ReplicaModel,
  ReplicaModelSchema,
} from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Driver } from "../../drivers/driver.ts";
import { clean } from "./ejection.ts";
import { hash32 } from "./rendezvous.ts";
import type { Standing } from "./standing.ts";

/** A replica as this router uses it: one driver, from its opening to its close. */
export class Member {
  readonly id: string;
  readonly url: string;
  readonly dialect: Dialect;
  readonly hash: number;
  /** Undefined until its dialect is known. */
  readonly driver: Driver | undefined;
  /** What is known of the replica also when it gets another driver. */
  readonly standing: Standing;
  /** Requests that it may have at a time. */
  places: number;
  /** It was taken out of the catalogue, and ends what it has. */
  leaving = false;
  /** Requests that came through this driver. */
  #ours = 0;
  /** Requests that it has from others, as far as its last probe tells. */
  #foreign = 0;
  #replica: Replica;

  constructor(replica: Replica, driver: Driver | undefined, places: number, standing: Standing) {
    this.id = replica.id;
    this.url = replica.url;
    this.dialect = replica.dialect;
    this.hash = hash32(replica.id);
    this.driver = driver;
    this.places = places;
    this.standing = standing;
    this.#replica = replica;
    this.#readLoad();
  }

  /** Requests that the replica has from this router. */
  get inFlight(): number {
    return this.standing.inFlight;
  }

  /** Whether a request runs through this driver. */
  get busy(): boolean {
    return this.#ours > 0;
  }

  /** A request takes a place. */
  enter(): void {
    this.#ours += 1;
    this.standing.inFlight += 1;
  }

  /** It gives the place back. */
  leave(): void {
    this.#ours -= 1;
    this.standing.inFlight -= 1;
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
   * Takes what a new probe found. One that is back has a clean record: the probes know of a recovery first.
   *
   * @returns whether its models changed.
   */
  update(replica: Replica): boolean {
    const before = this.models;
    const wasUp = this.up;
    this.#replica = replica;
    if (!wasUp && this.up) this.standing.judge(clean);
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
