import { create, fromJson, type JsonObject } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { LeaseReportSchema } from "../../gen/ts/weir/quota/v1/lease_pb.ts";
import { type Limit, LimitSchema, LimitSpecSchema, Operation } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import {
  type ExtendRequest,
  ExtendRequestSchema,
  type LeaseRequest,
  LeaseRequestSchema,
  type ReserveRequest,
  ReserveRequestSchema,
  type SettleRequest,
  SettleRequestSchema,
} from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { type Amounts, AmountsSchema, ConsumerSchema } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";

const who = { consumer: create(ConsumerSchema, { orgId: "acme", projectId: "search", keyId: "k1" }) };
const what = { model: "weir-sim", operation: Operation.GENERATE };

let revisions = 0n;

/** A limit of the installation as its specification says, newer than all before it. */
export function limitOf(id: string, spec: JsonObject): Limit {
  revisions += 1n;
  const installation = { kind: "SUBJECT_KIND_INSTALLATION" };
  return create(LimitSchema, {
    id,
    orgId: "acme",
    revision: revisions,
    spec: fromJson(LimitSpecSchema, { name: id, subject: installation, ...spec }),
  });
}

export const perMinute = { rate: { per: "60s" } };

export function amounts(input = 0, output = 0): Amounts {
  return create(AmountsSchema, { inputTokens: BigInt(input), outputTokens: BigInt(output) });
}

export interface ReserveWish {
  readonly nodeId?: string;
  readonly estimate?: Amounts;
  readonly least?: Amounts;
  readonly waitMs?: number;
  readonly leasedLimitIds?: readonly string[];
  readonly reports?: ReserveRequest["reports"];
}

export function reserveRequest(requestId: string, wish: ReserveWish = {}): ReserveRequest {
  return create(ReserveRequestSchema, {
    ...who,
    ...what,
    requestId,
    nodeId: wish.nodeId ?? "node-1",
    estimate: wish.estimate ?? amounts(10, 20),
    least: wish.least ?? amounts(),
    leasedLimitIds: [...(wish.leasedLimitIds ?? [])],
    reports: wish.reports ?? [],
    ...(wish.waitMs === undefined ? {} : { waitMax: { seconds: 0n, nanos: wish.waitMs * 1_000_000 } }),
  });
}

export function settleRequest(requestId: string, used: Amounts, sequence = 1n): SettleRequest {
  return create(SettleRequestSchema, { ...who, ...what, requestId, used, sequence });
}

export function extendRequest(requestId: string, slice: number, more: Amounts, used = amounts()): ExtendRequest {
  return create(ExtendRequestSchema, { requestId, slice, more, used });
}

export function leaseRequest(
  requestId: string,
  wish: Partial<Pick<LeaseRequest, "nodeId" | "reports" | "wanted" | "requestsWanted">> = {},
): LeaseRequest {
  const { wanted = amounts(1_000, 1_000), ...others } = wish;
  return create(LeaseRequestSchema, {
    ...who,
    ...what,
    requestId,
    nodeId: "node-1",
    wanted,
    requestsWanted: 10n,
    ...others,
  });
}

export function reportOf(
  leaseId: string,
  sequence: bigint,
  held: {
    spent: bigint;
    reserved: bigint;
    amount: bigint;
    returned?: boolean;
    limitId?: string;
    heard?: bigint;
    windowEnd?: Timestamp;
  },
) {
  return create(LeaseReportSchema, { leaseId, sequence, ...held });
}
