import type { ReplicaModel } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Model } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { type FeatureSet, seatFeatures } from "../requirement.ts";
import type { Member } from "./member.ts";
import type { Candidate } from "./picker.ts";

/** A model at a replica: what the picker chooses from. */
export class Seat implements Candidate {
  readonly features: FeatureSet;
  readonly model: ReplicaModel;
  readonly replica: Member;

  constructor(model: ReplicaModel, replica: Member, named: Model) {
    this.features = seatFeatures(model, named);
    this.model = model;
    this.replica = replica;
  }

  get ready(): boolean {
    return this.model.ready && this.replica.up;
  }

  get ejected(): boolean {
    return this.replica.standing.ejected;
  }

  get inFlight(): number {
    return this.replica.inFlight;
  }

  get places(): number {
    return this.replica.places;
  }

  get score(): number {
    return this.replica.score;
  }

  get hash(): number {
    return this.replica.hash;
  }
}
