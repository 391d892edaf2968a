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
import { allows } from "../../services/runtime/identity/allow.ts";
import type { QuotaClient } from "../../services/router/quota/store-link.ts";

/** Calls of a holder that go to a store itself, where limits count everybody who calls their models. */
export function storeClient(store: QuotaStore, limits: readonly Limit[]): QuotaClient {
  const counting = (model = "") =>
    limits.filter(({ spec }) => allows({ all: !spec?.models.length, names: spec?.models ?? [] }, model));
  return {
    reserve: (request) => store.reserve(counting(request.model), create(ReserveRequestSchema, request), limits),
    async lease(request) {
      const mine = counting(request.model);
      const response = await store.lease(mine, create(LeaseRequestSchema, request), limits);
      return { ...response, elsewhere: limits.filter((limit) => !mine.includes(limit)) };
    },
    extend: (request) => store.extend(create(ExtendRequestSchema, request)),
    settle: (request) => store.settle(counting(request.model), create(SettleRequestSchema, request)),
    async release(request) {
      await store.release(create(ReleaseRequestSchema, request));
      return create(ReleaseResponseSchema);
    },
    async returnLease(request) {
      await store.returnLease(limits, create(ReturnLeaseRequestSchema, request));
      return create(ReturnLeaseResponseSchema);
    },
  };
}
