import type { Migration } from "kysely/migration";
import { ledger } from "./001-ledger.ts";

/** The steps from nothing to today's schema `usage`, in order. */
export const migrations: Readonly<Record<string, Migration>> = {
  "001-ledger": ledger,
};
