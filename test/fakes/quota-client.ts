import { create } from "@bufbuild/protobuf";
import type { Limit } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import {
  ExtendRequestSchema,
  LeaseRequestSchema,
  ReleaseRequestSchema,
  ReleaseResponseSchema,
  ReserveRequestSchema,
  ReturnLeaseRequestSchema,
  ReturnLeaseResponseSchema,
  SettleRequestSchema,
} from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { QuotaStore } from "../../services/quota/store.ts";
import type { QuotaClient } from "../../services/router/quota/store-link.ts";

/** Calls of a holder that go to a store itself, where all limits count everybody. */
export function storeClient(store: QuotaStore, limits: readonly Limit[]): QuotaClient {
  return {
    reserve: (request) => store.reserve(limits, create(ReserveRequestSchema, request)),
    lease: (request) => store.lease(limits, create(LeaseRequestSchema, request)),
    extend: (request) => store.extend(create(ExtendRequestSchema, request)),
    settle: (request) => store.settle(limits, create(SettleRequestSchema, request)),
    async release(request) {
      await store.release(create(ReleaseRequestSchema, request));
      return create(ReleaseResponseSchema);
    },
    async returnLease(request) {
      await store.returnLease(create(ReturnLeaseRequestSchema, request));
      return create(ReturnLeaseResponseSchema);
    },
  };
}
