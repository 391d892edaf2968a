import type { Migration } from "kysely/migration";
import { limits } from "./001-limits.ts";

/** The steps from nothing to today's schema `quota`, in order. */
export const migrations: Readonly<Record<string, Migration>> = {
  "001-limits": limits,
};
