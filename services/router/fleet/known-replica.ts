import { create } from "@bufbuild/protobuf";
import {
  Dialect,
  type Replica,
  ReplicaHealth,
  ReplicaSchema,
  type ReplicaState,
  ReplicaStateSchema,
} from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";

/**
 * A replica as the catalogue tells it. A catalogue that has just started knows nothing of one that does not answer just
 * now: what it is and has stays as it was told before, while it is at the same place.
 */
export function withKnown(told: Replica, before: Replica | undefined): Replica {
  if (!before || hasAnswered(told.state) || !isSamePlace(told, before)) return told;
  const { engine = "", models = [] } = before.state ?? {};
  const state = create(ReplicaStateSchema, { ...(told.state ?? create(ReplicaStateSchema)), engine, models });
  return create(ReplicaSchema, { ...told, dialect: before.dialect, state });
}

/** Whether it has ever said what it is. */
function hasAnswered(state: ReplicaState | undefined): boolean {
  return (
    state !== undefined && (state.health === ReplicaHealth.READY || state.engine !== "" || state.models.length > 0)
  );
}

/** Where a dialect is told it was configured: another one reads the models in another way. */
function isSamePlace(told: Replica, before: Replica): boolean {
  const isSameDialect = told.dialect === Dialect.UNSPECIFIED || told.dialect === before.dialect;
  return isSameDialect && told.poolId === before.poolId && told.url === before.url && told.httpUrl === before.httpUrl;
}
