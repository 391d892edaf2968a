import { hash } from "node:crypto";
import { type Kysely, sql } from "kysely";
import type { SetAside } from "./intake.ts";

/** Keeps what cannot be counted, each record once however often it comes. Returns those that are new. */
export async function setAside(
  db: Kysely<unknown>,
  nodeId: string,
  records: readonly SetAside[],
  nowMs: number,
): Promise<SetAside[]> {
  const byDigest = new Map(records.map((record) => [hash("sha256", record.bytes, "hex"), record]));
  // In an order, so that two senders of the same records wait for each other and not in a circle.
  const rows = [...byDigest].sort(([a], [b]) => (a < b ? -1 : 1));
  const { rows: added } = await sql<{ digest: Buffer }>`
    insert into usage.quarantine (digest, time, node_id, request_id, reason, problem, record)
    select digest, ${new Date(nowMs)}::timestamptz, ${nodeId}, request_id, reason, problem, record
    from unnest(
      ${rows.map(([digest]) => Buffer.from(digest, "hex"))}::bytea[],
      ${rows.map(([, { requestId }]) => requestId)}::text[],
      ${rows.map(([, { reason }]) => reason)}::text[],
      ${rows.map(([, { problem }]) => problem)}::text[],
      ${rows.map(([, { bytes }]) => Buffer.from(bytes))}::bytea[]
    ) as told (digest, request_id, reason, problem, record)
    on conflict do nothing returning digest`.execute(db);
  const fresh = new Set(added.map(({ digest }) => digest.toString("hex")));
  return [...byDigest].flatMap(([digest, record]) => (fresh.has(digest) ? [record] : []));
}
