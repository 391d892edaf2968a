import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Key, KeySchema } from "../../gen/ts/weir/auth/v1/key_pb.ts";
import { type Principal, PrincipalSchema } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { StoredKey } from "./store.ts";

/** A kept key as its owner sees it. */
export function keyFromStored(key: StoredKey): Key {
  return create(KeySchema, {
    id: key.id,
    orgId: key.orgId,
    projectId: key.projectId,
    name: key.name,
    reach: key.reach,
    permissions: [...key.permissions],
    models: { all: key.models.all, names: [...key.models.names] },
    ...times({ startTime: key.startMs, expireTime: key.expireMs, revokeTime: key.revokeMs }),
    createTime: timestampFromMs(key.createMs),
    updateTime: timestampFromMs(key.updateMs),
    creatorKeyId: key.creatorKeyId,
    labels: { ...key.labels },
  });
}

/** A kept key as the data path sees it. */
export function principalFromStored(key: StoredKey): Principal {
  return create(PrincipalSchema, {
    keyId: key.id,
    orgId: key.orgId,
    projectId: key.projectId,
    reach: key.reach,
    permissions: [...key.permissions],
    models: { all: key.models.all, names: [...key.models.names] },
    ...times({ startTime: key.startMs, expireTime: key.expireMs }),
  });
}

/** Those of the times that are set. */
function times<K extends string>(all: Record<K, number | undefined>): Partial<Record<K, Timestamp>> {
  const set: Partial<Record<K, Timestamp>> = {};
  for (const name in all) {
    const ms = all[name];
    if (ms !== undefined) set[name] = timestampFromMs(ms);
  }
  return set;
}
