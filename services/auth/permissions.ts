import { type DescService, getOption, hasOption } from "@bufbuild/protobuf";
import { AuthService } from "../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import { KeyService } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { TenantService } from "../../gen/ts/weir/auth/v1/tenant_service_pb.ts";
import { CatalogService } from "../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import { EngineService } from "../../gen/ts/weir/catalog/v1/engine_service_pb.ts";
import { PoolService } from "../../gen/ts/weir/catalog/v1/pool_service_pb.ts";
import { method as methodOption } from "../../gen/ts/weir/policy/v1/policy_pb.ts";
import { LimitService } from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import { QuotaService } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { InferenceService } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { UsageService } from "../../gen/ts/weir/usage/v1/usage_service_pb.ts";

/** Our own contracts, whether or not this process serves them: a key is good for the whole installation. */
const contracts: readonly DescService[] = [
  AuthService,
  KeyService,
  TenantService,
  CatalogService,
  EngineService,
  PoolService,
  InferenceService,
  LimitService,
  QuotaService,
  UsageService,
];

/** Every permission that our contracts or those of the given services ask for, and "*", which stands for all of them. */
export function knownPermissions(others: Iterable<DescService>): ReadonlySet<string> {
  const known = new Set(["*"]);
  for (const service of [...contracts, ...others]) {
    for (const method of service.methods) {
      const permission = hasOption(method, methodOption) ? getOption(method, methodOption).permission : "";
      if (permission) known.add(permission);
    }
  }
  return known;
}
