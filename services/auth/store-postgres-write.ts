import { sql } from "kysely";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, WeirError } from "../runtime/errors/fail.ts";
import { isUnavailable } from "../runtime/postgres/sqlstate.ts";
import type { Created, CreateRequest } from "./store.ts";
import type { AuthDatabase, AuthTransaction } from "./store-postgres-tables.ts";

/** Every write of this service takes it: "weirauth" as a number, so that no other service takes the same. */
const lockId = 0x7765697261757468n;

/** For callers while the database is away. */
const retryAfterMs = 1_000;

/**
 * Runs a write alone. Writers wait for one another, so revisions become visible in their order: whoever has seen one
 * has seen all before it.
 */
export function write<T>(db: AuthDatabase, work: (trx: AuthTransaction) => Promise<T>): Promise<T> {
  return answered(
    db.transaction().execute(async (trx) => {
      await sql`select pg_advisory_xact_lock(${lockId})`.execute(trx);
      return work(trx);
    }),
  );
}

/** The write's own revision. Called by a write that changes something, before it does. */
export async function nextRevision(trx: AuthTransaction): Promise<bigint> {
  const { revision } = await trx
    .updateTable("auth.state")
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
    const facts = { store: "auth store", retry_after_ms: String(retryAfterMs) };
    throw fail(ErrorReason.STORE_UNAVAILABLE, facts, { cause, retryAfterMs });
  }
}

/** A create whose request id is taken: by the same request, or by another. */
export function repeated<T>(request: CreateRequest, fingerprint: string, resource: T): Created<T> {
  return request.fingerprint === fingerprint ? { kind: "repeated", resource } : { kind: "request_used" };
}
