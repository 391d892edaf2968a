import type { ColumnType, Generated, Kysely, Transaction } from "kysely";

/** A bigint arrives as text, because it may not fit a number. */
type Int8 = ColumnType<string, bigint, bigint>;
type Time = ColumnType<Date, Date, Date>;
type StoreTime = ColumnType<Date, never, Date>;

interface Named {
  id: string;
  name: string;
  request_id: string;
  request_fingerprint: string;
  create_time: Generated<Date>;
  update_time: StoreTime;
}

interface KeyHolder extends Named {
  /** Keys that were not revoked. */
  live_keys: Generated<number>;
}

/** The schema `auth`. */
export interface AuthTables {
  "auth.state": { id: number; revision: Int8; first_key_id: string | null };
  "auth.peppers": { version: number; fingerprint: string };
  "auth.orgs": KeyHolder;
  "auth.projects": KeyHolder & { org_id: string };
  "auth.keys": Named & {
    project_id: string;
    reach: string;
    permissions: readonly string[];
    models_all: boolean;
    model_names: readonly string[];
    start_time: Time | null;
    expire_time: Time | null;
    labels: ColumnType<Record<string, string>, string, string>;
    creator_key_id: string;
    mac: Buffer;
    pepper_version: number;
    revoke_time: Date | null;
    create_revision: Int8;
    revision: Int8;
  };
}

export type AuthDatabase = Kysely<AuthTables>;
export type AuthTransaction = Transaction<AuthTables>;
