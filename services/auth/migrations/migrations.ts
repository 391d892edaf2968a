import type { Migration } from "kysely/migration";
import { keysAndTenants } from "./001-keys-and-tenants.ts";
import { liveKeys } from "./002-live-keys.ts";
import { keyCounts } from "./003-key-counts.ts";

/** The steps from nothing to today's schema `auth`, in order. */
export const migrations: Readonly<Record<string, Migration>> = {
  "001-keys-and-tenants": keysAndTenants,
  "002-live-keys": liveKeys,
  "003-key-counts": keyCounts,
};
