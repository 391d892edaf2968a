import { sql } from "kysely";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, WeirError } from "../runtime/errors/fail.ts";
import { isUnavailable } from "../runtime/postgres/sqlstate.ts";
import type { QuotaDatabase, QuotaTransaction } from "./store-postgres-limits.ts";

/** Every write of this service takes it: "weirquot" as a number, so that no other service takes the same. */
const lockId = 0x7765697271756f74n;

/** For callers while the database is away. */
const retryAfterMs = 1_000;

/** Runs a write alone: revisions become visible in their order, so that whoever has seen one has seen all before it. */
export function write<T>(db: QuotaDatabase, work: (trx: QuotaTransaction) => Promise<T>): Promise<T> {
  return answered(
    db.transaction().execute(async (trx) => {
      await sql`select pg_advisory_xact_lock(${lockId})`.execute(trx);
      return work(trx);
    }),
  );
}

/** The write's own revision. Called by a write that changes something, before it does. */
export async function nextRevision(trx: QuotaTransaction): Promise<bigint> {
  const { revision } = await trx
    .updateTable("quota.state")
    .set({ revision: sql<bigint>`revision + 1` })
    .returning("revision")
    .executeTakeFirstOrThrow();
  return BigInt(revision);
}

/** The work's result. Its errors are told as reasons; what PostgreSQL said stays here, as their cause. */
export async function answered<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (cause instanceof WeirError) throw cause;
    if (!isUnavailable(cause)) throw fail(ErrorReason.INTERNAL, {}, { cause });
    const facts = { store: "store of limits", retry_after_ms: String(retryAfterMs) };
    throw fail(ErrorReason.STORE_UNAVAILABLE, facts, { cause, retryAfterMs });
  }
}
