import { fromJson } from "@bufbuild/protobuf";
import { type UsageRecord, UsageState } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { ListUsageRecordsResponseSchema } from "../../gen/ts/weir/usage/v1/usage_service_pb.ts";

/** All records of the caller's project, as its API tells them, by request. */
async function ledgerOf(url: string, key: string): Promise<Map<string, UsageRecord>> {
  const records = new Map<string, UsageRecord>();
  for (let pageToken = ""; ; ) {
    const response = await fetch(`${url}/weir.usage.v1.UsageService/ListUsageRecords`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify({ pageSize: 1_000, pageToken }),
    });
    const page = fromJson(ListUsageRecordsResponseSchema, JSON.parse(await response.text()));
    for (const record of page.records) {
      if (records.has(record.requestId)) throw new Error(`two records of ${record.requestId}`);
      records.set(record.requestId, record);
    }
    if (page.nextPageToken === "") return records;
    pageToken = page.nextPageToken;
  }
}

/** Waits until the ledger has this many records, all of them final. */
export async function settledLedger(url: string, key: string, count: number): Promise<Map<string, UsageRecord>> {
  const endMs = performance.now() + 15_000;
  for (;;) {
    const records = await ledgerOf(url, key);
    const finals = [...records.values()].filter(({ state }) => state === UsageState.FINAL);
    if (finals.length === count && records.size === count) return records;
    if (performance.now() > endMs) {
      const ends = finals.map(({ requestId, endReason }) => `${requestId} ended ${endReason}`);
      throw new Error(`${records.size} records, ${finals.length} final, of ${count}:\n${ends.join("\n")}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
