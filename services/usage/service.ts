import type { UsageService } from "../../gen/ts/weir/usage/v1/usage_service_pb.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import { type QueryOptions, usageQueries } from "./service-query.ts";
import { type RecordOptions, recordUsage } from "./service-record.ts";

/** Keeps what was used, and reports it. */
export function usageService(options: RecordOptions & QueryOptions): ServiceImplementation<typeof UsageService> {
  return { recordUsage: recordUsage(options), ...usageQueries(options) };
}
