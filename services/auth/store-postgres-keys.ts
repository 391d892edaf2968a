import { type Selectable, sql } from "kysely";
import { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { KeyBounds, KeyPage, KeySpec, KeyStore, NewKey, ProjectScope, StoredKey, Writer } from "./store.ts";
import type { AuthDatabase, AuthTables, AuthTransaction } from "./store-postgres-tables.ts";
import { answered, nextRevision, repeated, write } from "./store-postgres-write.ts";

type KeyRow = Selectable<AuthTables["auth.keys"]> & { org_id: string };

export function keyStore(db: AuthDatabase): KeyStore {
  return {
    create: (project, key, bounds, check) => write(db, (trx) => createKey(trx, project, key, bounds, check)),
    get: (project, keyId) => answered(find(db, project, keyId)),
    list: (project, page) =>
      answered(
        list(db, project, page).then((rows) => ({ keys: rows.map(keyFromRow), more: rows.at(-1)?.more ?? false })),
      ),
    update: (project, keyId, by, change) =>
      write(db, async (trx) => {
        const writer = await writerOf(trx, by);
        return updateKey(trx, project, keyId, (key) => change(key, writer));
      }),
    revoke: (project, keyId, by, check) =>
      write(db, async (trx) => {
        const writer = await writerOf(trx, by);
        return revokeKey(trx, project, keyId, (key) => check(key, writer));
      }),
  };
}

/** Keys with their organisation, as far as the scope goes. */
function keysOf(db: AuthDatabase | AuthTransaction, project: ProjectScope) {
  return db
    .selectFrom("auth.keys as k")
    .innerJoin("auth.projects as p", "p.id", "k.project_id")
    .selectAll("k")
    .select("p.org_id")
    .where("k.project_id", "=", project.projectId)
    .$if(project.orgId !== undefined, (q) => q.where("p.org_id", "=", project.orgId ?? ""));
}

/** Rows are summed up one by one as they are read, up to the limit: the rest of a long list costs nothing. */
function list(db: AuthDatabase, project: ProjectScope, { limit, bytesMax, before, revoked }: KeyPage) {
  const rows = keysOf(db, project)
    .select(sql<boolean>`lead(k.id) over (order by k.create_revision desc) is not null`.as("more"))
    .select(
      sql<string>`coalesce(
        sum(
          octet_length(k.name) + octet_length(k.labels::text)
          + octet_length(array_to_string(k.permissions, '')) + octet_length(array_to_string(k.model_names, ''))
        ) over (order by k.create_revision desc rows between unbounded preceding and 1 preceding),
        0
      )`.as("bytes_before"),
    )
    .$if(before !== undefined, (q) => q.where("k.create_revision", "<", String(before)))
    .$if(!revoked, (q) => q.where("k.revoke_time", "is", null))
    .orderBy("k.create_revision", "desc")
    .limit(limit);
  return db
    .selectFrom(rows.as("page"))
    .selectAll()
    .where("bytes_before", "<", String(bytesMax))
    .orderBy("create_revision", "desc")
    .execute();
}

async function find(
  db: AuthDatabase | AuthTransaction,
  project: ProjectScope,
  keyId: string,
): Promise<StoredKey | undefined> {
  const row = await keysOf(db, project).where("k.id", "=", keyId).executeTakeFirst();
  return row && keyFromRow(row);
}

/** The key that writes. Read within the write: what its holder may do is what holds now. */
async function writerOf(trx: AuthTransaction, keyId: string): Promise<Writer | undefined> {
  if (keyId === "") return undefined;
  const row = await trx
    .selectFrom("auth.keys as k")
    .innerJoin("auth.projects as p", "p.id", "k.project_id")
    .selectAll("k")
    .select("p.org_id")
    .select(sql<Date>`clock_timestamp()`.as("now"))
    .where("k.id", "=", keyId)
    .executeTakeFirst();
  return row && { key: keyFromRow(row), nowMs: row.now.getTime() };
}

async function createKey(
  trx: AuthTransaction,
  project: ProjectScope,
  key: NewKey,
  bounds: KeyBounds,
  check: (writer: Writer | undefined) => void,
): ReturnType<KeyStore["create"]> {
  const parent = await trx
    .selectFrom("auth.projects as p")
    .innerJoin("auth.orgs as o", "o.id", "p.org_id")
    .select(["p.org_id", "p.live_keys as project_keys", "o.live_keys as org_keys"])
    .where("p.id", "=", project.projectId)
    .$if(project.orgId !== undefined, (q) => q.where("p.org_id", "=", project.orgId ?? ""))
    .executeTakeFirst();
  if (!parent) return { kind: "no_parent" };
  check(await writerOf(trx, key.creatorKeyId));
  const before = await keysOf(trx, project).where("k.request_id", "=", key.request.id).executeTakeFirst();
  if (before) return repeated(key.request, before.request_fingerprint, keyFromRow(before));
  if (parent.project_keys >= bounds.perProject) return { kind: "project_full" };
  if (parent.org_keys >= bounds.perOrg) return { kind: "org_full" };
  const row = await insertKey(trx, project.projectId, key);
  return row ? { kind: "created", resource: keyFromRow({ ...row, org_id: parent.org_id }) } : { kind: "id_taken" };
}

/** Counts keys that become live in their project and its organisation, or that no longer are. */
async function countLive(trx: AuthTransaction, projectId: string, change: 1 | -1): Promise<void> {
  const { org_id } = await trx
    .updateTable("auth.projects")
    .set({ live_keys: sql<number>`live_keys + ${change}` })
    .where("id", "=", projectId)
    .returning("org_id")
    .executeTakeFirstOrThrow();
  await trx
    .updateTable("auth.orgs")
    .set({ live_keys: sql<number>`live_keys + ${change}` })
    .where("id", "=", org_id)
    .execute();
}

/** Keeps a new key; undefined if its id is taken. */
export async function insertKey(trx: AuthTransaction, projectId: string, key: NewKey) {
  const revision = await nextRevision(trx);
  const row = await trx
    .insertInto("auth.keys")
    .values({
      ...columnsOf(key),
      id: key.id,
      project_id: projectId,
      reach: nameOfReach(key.reach),
      creator_key_id: key.creatorKeyId,
      mac: Buffer.from(key.mac),
      pepper_version: key.pepperVersion,
      request_id: key.request.id,
      request_fingerprint: key.request.fingerprint,
      create_revision: revision,
      revision,
    })
    .onConflict((conflict) => conflict.column("id").doNothing())
    .returningAll()
    .executeTakeFirst();
  if (row) await countLive(trx, projectId, 1);
  return row;
}

async function updateKey(
  trx: AuthTransaction,
  project: ProjectScope,
  keyId: string,
  change: (key: StoredKey) => KeySpec,
): Promise<StoredKey | undefined> {
  const key = await find(trx, project, keyId);
  if (!key) return undefined;
  const spec = change(key);
  const revision = await nextRevision(trx);
  await trx
    .updateTable("auth.keys")
    .set({ ...columnsOf(spec), revision, update_time: sql<Date>`now()` })
    .where("id", "=", keyId)
    .execute();
  return find(trx, project, keyId);
}

async function revokeKey(
  trx: AuthTransaction,
  project: ProjectScope,
  keyId: string,
  check: (key: StoredKey) => void,
): Promise<StoredKey | undefined> {
  const key = await find(trx, project, keyId);
  if (!key) return undefined;
  check(key);
  if (key.revokeMs !== undefined) return key;
  const revision = await nextRevision(trx);
  await trx
    .updateTable("auth.keys")
    .set({ revoke_time: sql<Date>`now()`, update_time: sql<Date>`now()`, revision })
    .where("id", "=", keyId)
    .execute();
  await countLive(trx, key.projectId, -1);
  return find(trx, project, keyId);
}

function columnsOf(spec: KeySpec) {
  return {
    name: spec.name,
    permissions: [...spec.permissions],
    models_all: spec.models.all,
    model_names: [...spec.models.names],
    start_time: timeFromMs(spec.startMs),
    expire_time: timeFromMs(spec.expireMs),
    labels: JSON.stringify(spec.labels),
  };
}

/** A row as the key that it keeps. */
export function keyFromRow(row: KeyRow): StoredKey {
  return {
    id: row.id,
    orgId: row.org_id,
    projectId: row.project_id,
    name: row.name,
    reach: reachOfName(row.reach),
    permissions: row.permissions,
    models: { all: row.models_all, names: row.model_names },
    startMs: row.start_time?.getTime(),
    expireMs: row.expire_time?.getTime(),
    labels: row.labels,
    creatorKeyId: row.creator_key_id,
    createMs: row.create_time.getTime(),
    updateMs: row.update_time.getTime(),
    revokeMs: row.revoke_time?.getTime(),
    createRevision: BigInt(row.create_revision),
  };
}

function timeFromMs(ms: number | undefined): Date | null {
  return ms === undefined ? null : new Date(ms);
}

function nameOfReach(reach: Reach): string {
  if (reach === Reach.INSTALLATION) return "installation";
  return reach === Reach.ORG ? "org" : "project";
}

function reachOfName(name: string): Reach {
  if (name === "installation") return Reach.INSTALLATION;
  return name === "org" ? Reach.ORG : Reach.PROJECT;
}
