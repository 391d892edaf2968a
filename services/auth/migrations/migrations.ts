import type { Migration } from "kysely/migration";
import { keysAndTenants } from "./001-keys-and-tenants.ts";

/** The steps from nothing to today's schema `auth`, in order. */
export const migrations: Readonly<Record<string, Migration>> = {
  "001-keys-and-tenants": keysAndTenants,
};
