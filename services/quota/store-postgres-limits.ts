import { create, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { type ColumnType, type Generated, type Kysely, type Selectable, sql, type Transaction } from "kysely";
import { type Limit, LimitSchema, type LimitSpec, LimitSpecSchema } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { LimitBounds, LimitCreated, LimitPage, LimitReading, LimitStore, NewLimit } from "./limit-store.ts";
import { answered, nextRevision, write } from "./store-postgres-write.ts";

/** A bigint arrives as text, because it may not fit a number. */
type Int8 = ColumnType<string, bigint, bigint>;

/** The schema `quota`. */
export interface QuotaTables {
  "quota.state": { id: number; revision: Int8 };
  "quota.limits": {
    id: string;
    org_id: string;
    subject_kind: number;
    subject_id: string;
    spec: ColumnType<JsonValue, string, string>;
    request_id: string;
    request_fingerprint: string;
    create_time: Generated<Date>;
    update_time: ColumnType<Date, never, Date>;
    delete_time: ColumnType<Date | null, never, Date>;
    create_revision: Int8;
    revision: Int8;
  };
}

export type QuotaDatabase = Kysely<QuotaTables>;
export type QuotaTransaction = Transaction<QuotaTables>;

type LimitRow = Selectable<QuotaTables["quota.limits"]>;

/** Limits in PostgreSQL, in a database that has the migrations of this service. */
export function postgresLimitStore(db: QuotaDatabase): LimitStore {
  return {
    create: (limit, bounds) => write(db, (trx) => createLimit(trx, limit, bounds)),
    get: (orgId, limitId) => answered(find(db, orgId, limitId)),
    list: (orgId, page) =>
      answered(
        list(db, orgId, page).then((rows) =>
          rows.map((row) => ({ limit: limitFromRow(row), createRevision: BigInt(row.create_revision) })),
        ),
      ),
    update: (orgId, limitId, change) => write(db, (trx) => updateLimit(trx, orgId, limitId, change)),
    delete: (orgId, limitId, check) => write(db, (trx) => deleteLimit(trx, orgId, limitId, check)),
    changesAfter: (after, limit) => answered(changesAfter(db, after, limit)),
  };
}

function liveOf(db: QuotaDatabase | QuotaTransaction, orgId: string) {
  return db.selectFrom("quota.limits").selectAll().where("org_id", "=", orgId).where("delete_time", "is", null);
}

async function find(db: QuotaDatabase | QuotaTransaction, orgId: string, limitId: string): Promise<Limit | undefined> {
  const row = await liveOf(db, orgId).where("id", "=", limitId).executeTakeFirst();
  return row && limitFromRow(row);
}

function list(db: QuotaDatabase, orgId: string, { before, subject, limit }: LimitPage): Promise<LimitRow[]> {
  return liveOf(db, orgId)
    .$if(before !== undefined, (q) => q.where("create_revision", "<", String(before)))
    .$if(subject !== undefined, (q) =>
      q.where("subject_kind", "=", subject?.kind ?? 0).where("subject_id", "=", subject?.id ?? ""),
    )
    .orderBy("create_revision", "desc")
    .limit(limit)
    .execute();
}

async function createLimit(trx: QuotaTransaction, limit: NewLimit, bounds: LimitBounds): Promise<LimitCreated> {
  const before = await trx
    .selectFrom("quota.limits")
    .selectAll()
    .where("org_id", "=", limit.orgId)
    .where("request_id", "=", limit.requestId)
    .executeTakeFirst();
  if (before) {
    if (before.request_fingerprint !== limit.fingerprint) return { kind: "request_used" };
    return { kind: "made", limit: limitFromRow(before) };
  }
  const subject = { kind: limit.spec.subject?.kind ?? 0, id: limit.spec.subject?.id ?? "" };
  const { per_subject, per_org } = await trx
    .selectNoFrom((eb) => [
      eb
        .selectFrom("quota.limits")
        .select(({ fn }) => fn.countAll<string>().as("n"))
        .where("subject_kind", "=", subject.kind)
        .where("subject_id", "=", subject.id)
        .where("delete_time", "is", null)
        .as("per_subject"),
      eb
        .selectFrom("quota.limits")
        .select(({ fn }) => fn.countAll<string>().as("n"))
        .where("org_id", "=", limit.orgId)
        .where("delete_time", "is", null)
        .as("per_org"),
    ])
    .executeTakeFirstOrThrow();
  if (Number(per_subject) >= bounds.perSubject) return { kind: "subject_full" };
  if (Number(per_org) >= bounds.perOrg) return { kind: "org_full" };
  const revision = await nextRevision(trx);
  const row = await trx
    .insertInto("quota.limits")
    .values({
      id: limit.id,
      org_id: limit.orgId,
      subject_kind: subject.kind,
      subject_id: subject.id,
      spec: textOf(limit.spec),
      request_id: limit.requestId,
      request_fingerprint: limit.fingerprint,
      create_revision: revision,
      revision,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
  return { kind: "made", limit: limitFromRow(row) };
}

async function updateLimit(
  trx: QuotaTransaction,
  orgId: string,
  limitId: string,
  change: (limit: Limit) => LimitSpec,
): Promise<Limit | undefined> {
  const limit = await find(trx, orgId, limitId);
  if (!limit) return undefined;
  const spec = change(limit);
  const revision = await nextRevision(trx);
  const row = await trx
    .updateTable("quota.limits")
    .set({ spec: textOf(spec), revision, update_time: sql<Date>`now()` })
    .where("id", "=", limitId)
    .returningAll()
    .executeTakeFirstOrThrow();
  return limitFromRow(row);
}

async function deleteLimit(
  trx: QuotaTransaction,
  orgId: string,
  limitId: string,
  check: (limit: Limit) => void,
): Promise<void> {
  const limit = await find(trx, orgId, limitId);
  if (!limit) return;
  check(limit);
  const revision = await nextRevision(trx);
  await trx
    .updateTable("quota.limits")
    .set({ revision, delete_time: sql<Date>`now()` })
    .where("id", "=", limitId)
    .execute();
}

/** One statement, so that no change between the revision and the list is missed. */
async function changesAfter(db: QuotaDatabase, after: bigint, limit: number): Promise<LimitReading> {
  const { rows } = await sql<{ state_revision: string } & (LimitRow | { id: null })>`
    select s.revision as state_revision, l.*
    from quota.state s
    left join lateral (
      select *
      from quota.limits
      where revision > ${after} and (delete_time is null or ${after} > 0)
      order by revision
      limit ${limit}
    ) l on true
    order by l.revision`.execute(db);
  const [first] = rows;
  if (!first) throw new Error("quota.state is empty");
  return {
    revision: BigInt(first.state_revision),
    changes: rows.flatMap((row) =>
      row.id === null ? [] : [{ limit: limitFromRow(row), deleted: row.delete_time !== null }],
    ),
  };
}

function textOf(spec: LimitSpec): string {
  return JSON.stringify(toJson(LimitSpecSchema, spec));
}

/** A row as the limit that it keeps. Fields of a newer version's are left out. */
function limitFromRow(row: LimitRow): Limit {
  return create(LimitSchema, {
    id: row.id,
    orgId: row.org_id,
    spec: fromJson(LimitSpecSchema, row.spec, { ignoreUnknownFields: true }),
    createTime: timestampFromDate(row.create_time),
    updateTime: timestampFromDate(row.update_time),
    revision: BigInt(row.revision),
  });
}
