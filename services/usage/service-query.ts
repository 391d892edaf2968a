import { toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { type UsageQuery, UsageQuerySchema } from "../../gen/ts/weir/usage/v1/usage_query_pb.ts";
import {
  type ListUsageRecordsRequest,
  ListUsageRecordsRequestSchema,
  type UsageService,
} from "../../gen/ts/weir/usage/v1/usage_service_pb.ts";
import { invalid } from "../runtime/arguments.ts";
import { fail } from "../runtime/errors/fail.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import { createLanes } from "./lanes.ts";
import type { LedgerTime } from "./ledger-time.ts";
import { recordFromRow, rowFromSums } from "./message.ts";
import { fingerprintOf, pageToken, partsOf } from "./page-token.ts";
import { keptFromMs } from "./partitions.ts";
import { filterFrom, msOf, planFrom, type SumKey } from "./query.ts";
import { isRequestId } from "./request-id.ts";
import { isWhole, rounded } from "./steps.ts";
import type { Owner, ReportStore } from "./store.ts";

export interface QueryOptions {
  readonly store: ReportStore;
  readonly time: Pick<LedgerTime, "nowMs">;
  readonly retentionMs: number;
}

type Handlers = Pick<ServiceImplementation<typeof UsageService>, "queryUsage" | "queryOrgUsage" | "listUsageRecords">;

const rowsDefault = 1_000;
const recordsDefault = 50;
/** A node that was silent for so long is not waited for: it was taken away. */
const nodeSilentMaxMs = 86_400_000;

/** Reports that are made at once: each may keep a core of the database busy for seconds. */
export const reportLanes = 2;
/** Reports that wait for others: more would hardly be made within their deadline. */
const waitingMax = 32;
/** As long as a long report takes. */
const retryAfterMs = 5_000;

/** Reports usage. */
export function usageQueries(options: QueryOptions): Handlers {
  const lanes = createLanes({ lanes: reportLanes, waitingMax });
  const report = <T>({ signal }: { readonly signal: AbortSignal }, make: () => Promise<T>): Promise<T> => {
    const made = lanes.run(make, signal);
    if (made !== undefined) return made;
    const facts = { limit: String(reportLanes + waitingMax), retry_after_ms: String(retryAfterMs) };
    throw fail(ErrorReason.OVERLOADED, facts, { retryAfterMs });
  };
  return {
    queryUsage: (request, context) => report(context, () => sumUp(options, request, { projectId: context.scope.id })),
    queryOrgUsage: (request, context) => report(context, () => sumUp(options, request, { orgId: context.scope.id })),
    listUsageRecords: (request, context) => report(context, () => listRecords(options, request, context.scope.id)),
  };
}

interface SumRequest {
  readonly query?: UsageQuery | undefined;
  readonly pageSize: number;
  readonly pageToken: string;
}

async function sumUp({ store, time, retentionMs }: QueryOptions, request: SumRequest, owner: Owner) {
  const { query } = request;
  if (query === undefined) throw invalid("query", "it is not set");
  const asked = planFrom(query, owner, keptFromMs(time.nowMs(), retentionMs));
  const { step, groups, timeZone } = asked;
  const [startMs, endMs] = isWhole(step)
    ? await store.wholeSteps(asked.startMs, asked.endMs, step, timeZone)
    : rounded(asked.startMs, asked.endMs, step);
  const fingerprint = fingerprintOf(JSON.stringify(owner), toBinary(UsageQuerySchema, query));
  const after = sumKey(partsOf(request.pageToken, fingerprint, groups.length + 1));
  // Asked first: what is complete by then is in what is summed up after.
  const completeMs = await store.completeUntil(owner, time.nowMs() - nodeSilentMaxMs);
  const limit = request.pageSize || rowsDefault;
  const found = await store.sums({ ...asked, startMs, endMs, after }, limit + 1);
  const rows = found.slice(0, limit);
  const last = rows.at(-1);
  const more = last !== undefined && found.length > limit;
  return {
    rows: rows.map((row) => rowFromSums(row, groups)),
    nextPageToken: more ? pageToken(fingerprint, [String(last.startMs), ...last.values]) : "",
    ...(completeMs === undefined ? {} : { completeUntil: timestampFromMs(completeMs) }),
  };
}

function sumKey(parts: readonly string[] | undefined): SumKey | undefined {
  if (parts === undefined) return undefined;
  const [time = "", ...values] = parts;
  if (!/^\d{1,15}$/.test(time)) throw invalid("page_token", "it is no next_page_token of this request");
  return { startMs: Number(time), values };
}

async function listRecords({ store }: QueryOptions, request: ListUsageRecordsRequest, projectId: string) {
  const { startTime, endTime, requestId } = request;
  const asked = { ...request, pageSize: 0, pageToken: "" };
  const fingerprint = fingerprintOf(projectId, toBinary(ListUsageRecordsRequestSchema, asked));
  const [before] = partsOf(request.pageToken, fingerprint, 1) ?? [];
  if (before !== undefined && !isRequestId(before)) {
    throw invalid("page_token", "it is no next_page_token of this request");
  }
  const limit = request.pageSize || recordsDefault;
  const plan = {
    projectId,
    startMs: startTime && msOf(startTime),
    endMs: endTime && msOf(endTime),
    filter: filterFrom(request.filter),
    requestId: requestId === "" ? undefined : requestId,
    before,
  };
  const found = await store.list(plan, limit + 1);
  const rows = found.slice(0, limit);
  const last = rows.at(-1);
  return {
    records: rows.map(recordFromRow),
    nextPageToken: last !== undefined && found.length > limit ? pageToken(fingerprint, [last.requestId]) : "",
  };
}
