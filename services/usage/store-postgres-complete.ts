import { type Kysely, sql } from "kysely";
import { msOfRequestId } from "./request-id.ts";
import type { NodeWord, Owner } from "./store.ts";

/** Keeps what nodes said last. */
export async function hear(db: Kysely<unknown>, words: readonly NodeWord[]): Promise<void> {
  const sorted = words.toSorted((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  await sql`
    insert into usage.nodes as kept (node_id, heard_time, complete_time)
    select * from unnest(
      ${sorted.map(({ nodeId }) => nodeId)}::text[],
      ${sorted.map(({ heardMs }) => new Date(heardMs))}::timestamptz[],
      ${sorted.map(({ completeMs }) => new Date(completeMs))}::timestamptz[])
    on conflict (node_id) do update set
      heard_time = greatest(kept.heard_time, excluded.heard_time),
      complete_time = greatest(kept.complete_time, excluded.complete_time)`.execute(db);
}

/** Until when nothing of an owner's is missing: no node has more to tell, and no request runs. */
export async function completeUntil(db: Kysely<unknown>, owner: Owner, sinceMs: number): Promise<number | undefined> {
  const projects =
    "projectId" in owner
      ? sql`select ${owner.projectId}::text as project_id`
      : sql`select distinct project_id from usage.series where org_id = ${owner.orgId}`;
  const { rows } = await sql<{ told: Date | null; running: string | null }>`
    select
      (select min(complete_time) from usage.nodes where heard_time >= ${new Date(sinceMs)}) as told,
      (select oldest.request_id from (${projects}) as project, lateral (
        select request_id from usage.records
        where records.project_id = project.project_id and stage < 3
        order by request_id limit 1
      ) as oldest order by oldest.request_id limit 1) as running`.execute(db);
  const [row] = rows;
  if (row?.told === undefined || row.told === null) return undefined;
  const told = row.told.getTime();
  return row.running === null ? told : Math.min(told, msOfRequestId(row.running));
}
