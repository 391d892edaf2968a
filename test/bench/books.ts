import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromDate, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { KeyService } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { Dimension, LimitSpecSchema, SubjectKind } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { LimitService } from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import { UsageService } from "../../gen/ts/weir/usage/v1/usage_service_pb.ts";
import { cpuWithChildrenUs } from "./cpu.ts";
import type { MeasuredWeir } from "./weir.ts";

/** What callers were sent, and what a ledger holds of it. */
export interface Sums {
  readonly requests: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
}

/** What a gateway keeps of what passes through it. */
export interface Books {
  /** A load is over: so much more was used. */
  owe(more: Sums): void;
  /** Waits until the ledger holds all that was used, to the token; throws when it does not in time, or holds more. */
  settled(): Promise<void>;
  /** What it holds now. */
  sums(): Promise<Sums>;
  /** What PostgreSQL has used of the processor so far, in microseconds. */
  postgresUs(): number;
  /** Calls of the control plane's services so far, by method, those of the bench itself left out. */
  calls(): Promise<ReadonlyMap<string, number>>;
}

/** The project that comes with an installation. */
const project = "default";

/** Makes a key that may call models, and limits for its project that are never reached and can be leased. */
export async function openBooks(weir: MeasuredWeir): Promise<Books & { readonly key: string }> {
  const authorized: Interceptor = (next) => (request) => {
    request.header.set("authorization", `Bearer ${weir.key}`);
    return next(request);
  };
  const transport = createConnectTransport({ baseUrl: weir.url, httpVersion: "1.1", interceptors: [authorized] });
  const made = await createClient(KeyService, transport).createKey({ requestId: randomUUID(), name: "bench" });
  await limitProject(createClient(LimitService, transport), made.key?.id ?? "");
  const usage = createClient(UsageService, transport);
  let owed: Sums = { requests: 0, promptTokens: 0, completionTokens: 0 };
  const sums = () => sumsOf(usage);
  return {
    key: made.secret,
    sums,
    owe(more) {
      owed = {
        requests: owed.requests + more.requests,
        promptTokens: owed.promptTokens + more.promptTokens,
        completionTokens: owed.completionTokens + more.completionTokens,
      };
    },
    settled: () => settle(owed, sums),
    postgresUs: () => cpuWithChildrenUs(weir.postgresPid),
    calls: async () => controlCalls(await (await fetch(`${weir.adminUrl}/metrics`)).text()),
  };
}

/** Far above what one core can reach, so that leases are as large as they get. */
const generous = [
  { name: "requests a minute", dimension: Dimension.REQUESTS, count: 1_000_000_000n, rated: true },
  { name: "tokens a minute", dimension: Dimension.TOTAL_TOKENS, count: 1_000_000_000_000n, rated: true },
  { name: "requests at once", dimension: Dimension.CONCURRENT_REQUESTS, count: 1_000_000n, rated: false },
] as const;

async function limitProject(limits: Client<typeof LimitService>, keyId: string): Promise<void> {
  for (const { name, dimension, count, rated } of generous) {
    const spec = create(LimitSpecSchema, {
      name,
      subject: { kind: SubjectKind.PROJECT, id: project },
      dimension,
      ceiling: { case: "count", value: count },
      ...(rated ? { window: { case: "rate", value: { per: { seconds: 60n } } } } : {}),
    });
    await limits.createLimit({ requestId: randomUUID(), spec });
  }
  const status = await limits.getLimitStatus({ projectId: project, keyId });
  if (status.limits.length !== generous.length) throw new Error(`${status.limits.length} limits hold, not 3`);
}

async function sumsOf(usage: Client<typeof UsageService>): Promise<Sums> {
  const now = Date.now();
  const query = { startTime: timestampFromMs(now - dayMs), endTime: timestampFromDate(new Date(now + dayMs)) };
  const { rows } = await usage.queryUsage({ projectId: project, query });
  const sum = (pick: (row: (typeof rows)[number]) => bigint) => Number(rows.reduce((all, row) => all + pick(row), 0n));
  return {
    requests: sum((row) => row.requests),
    promptTokens: sum((row) => row.promptTokens),
    completionTokens: sum((row) => row.completionTokens),
  };
}

const dayMs = 86_400_000;
/** A look costs the gateway 2 ms and PostgreSQL 1 ms, which count as if callers had caused them. */
const lookEveryMs = 400;
const patienceMs = 60_000;

async function settle(owed: Sums, sums: () => Promise<Sums>): Promise<void> {
  const endMs = performance.now() + patienceMs;
  for (;;) {
    await new Promise((later) => setTimeout(later, lookEveryMs));
    const held = await sums();
    const behind = Object.entries(owed).filter(([name, count]) => held[name as keyof Sums] < count);
    const ahead = Object.entries(owed).filter(([name, count]) => held[name as keyof Sums] > count);
    if (behind.length + ahead.length === 0) return;
    if (ahead.length > 0 || performance.now() > endMs)
      throw new Error(`the ledger holds ${JSON.stringify(held)}, and was owed ${JSON.stringify(owed)}`);
  }
}

/** The bench's own questions, and what a request is itself. */
const notControl = /^weir\.(router|catalog)\.|^weir\.usage\.v1\.UsageService\/Query/;

function controlCalls(metrics: string): ReadonlyMap<string, number> {
  const calls = new Map<string, number>();
  for (const [, method = "", count = ""] of metrics.matchAll(/^weir_rpc_total\{method="([^"]+)",[^}]*\} (\S+)$/gm)) {
    if (notControl.test(method) || !method.startsWith("weir.")) continue;
    calls.set(method, (calls.get(method) ?? 0) + Number(count));
  }
  return calls;
}
