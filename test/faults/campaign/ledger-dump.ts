import pg from "pg";
import { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { Ledger, Row, Sum } from "./truth.ts";

/** Reads the ledger's tables as they are, past the gateway. Each call has a connection of its own. */
export interface LedgerReader {
  /** Rows admitted since then, and all sums. */
  dump(sinceMs: number): Promise<Ledger>;
  /** Ids of the rows that have their end. */
  finals(sinceMs: number): Promise<ReadonlySet<string>>;
}

/** A read on a machine that is busy with everything else. */
const queryTimeoutMs = 20_000;

const rowsSince = `
select r.request_id as "requestId", s.key_id as "keyId", r.project_id as "projectId", s.requested_model as "requestedModel",
  (extract(epoch from r.admit_time) * 1000)::float8 as "admitMs", r.stage, r.prompt_tokens as "promptTokens",
  r.completion_tokens as "completionTokens", r.end_reason as "endReason", coalesce(r.queue_ms, 0) as "queueMs",
  coalesce(r.duration_ms, 0) as "durationMs",
  case when r.attempts > 0 then r.attempts when r.attempt_delay_ms is null then 0 else 1 end as attempts
from usage.records r join usage.series s on s.id = r.series_id
where r.admit_time >= to_timestamp($1::float8 / 1000) order by r.request_id`;

const isFailed = `end_reason in (${EndReason.FAILED}, ${EndReason.LOST})`;

/** Sums are numbers of requests and tokens far below 2^53. */
const rowSums = `
select series_id || ' ' || date_bin('15 minutes', admit_time, timestamptz '2000-01-01 00:00:00Z') as of,
  count(*)::float8 as requests, (count(*) filter (where ${isFailed}))::float8 as "failedRequests",
  sum(prompt_tokens)::float8 as "promptTokens", sum(completion_tokens)::float8 as "completionTokens"
from usage.records group by 1`;

const rollups = `
select series_id || ' ' || slot_time as of, requests::float8, failed_requests::float8 as "failedRequests",
  prompt_tokens::float8 as "promptTokens", completion_tokens::float8 as "completionTokens"
from usage.rollups where requests <> 0`;

/** Reads the database at `url`, directly. */
export function ledgerReader(url: string): LedgerReader {
  return {
    dump: (sinceMs) =>
      withClient(url, async (client) => {
        // One moment for all: sums change with their rows.
        await client.query("begin isolation level repeatable read read only");
        const { rows } = await client.query<Row>(rowsSince, [sinceMs]);
        const { rows: added } = await client.query<Sum>(rowSums);
        const { rows: kept } = await client.query<Sum>(rollups);
        const { rows: aside } = await client.query<{ count: number }>("select count(*)::int from usage.quarantine");
        await client.query("commit");
        return { rows, rowSums: added, rollups: kept, setAside: aside[0]?.count ?? 0 };
      }),
    finals: (sinceMs) =>
      withClient(url, async (client) => {
        const { rows } = await client.query<{ request_id: string }>(
          "select request_id from usage.records where stage = 4 and admit_time >= to_timestamp($1::float8 / 1000)",
          [sinceMs],
        );
        return new Set(rows.map(({ request_id: id }) => id));
      }),
  };
}

async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: queryTimeoutMs,
    query_timeout: queryTimeoutMs,
  });
  // A break shows in the query that is under way.
  client.on("error", () => undefined);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}
