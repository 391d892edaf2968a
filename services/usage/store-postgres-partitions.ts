import { type Kysely, sql, type Transaction } from "kysely";
import { idBounds, type Month, monthNamed, monthsNeeded } from "./partitions.ts";

type Database = Kysely<unknown>;

/** Partitions are made and dropped by one process at a time: "weirparts" cut to 8 bytes, so that nobody else's is it. */
const lockId = 0x7765697270617274n;
/** What waits for a lock on a table makes everybody else wait behind it. */
const lockTimeout = "1s";
const tables = ["records", "attempts"] as const;

/** Which months have partitions now. */
export async function monthsThere(db: Database): Promise<Month[]> {
  const { rows } = await sql<{ name: string }>`
    select substring(child.relname from 9) as name from pg_inherits
    join pg_class child on child.oid = inhrelid
    where inhparent = 'usage.records'::regclass and not inhdetachpending
    order by child.relname`.execute(db);
  return rows.flatMap(({ name }) => monthNamed(name) ?? []);
}

/** Makes the partitions of months where they are missing. Other writers do not wait for it. */
export async function makePartitions(db: Database, months: readonly Month[]): Promise<string[]> {
  return locked(db, async (trx) => {
    const there = new Set((await monthsThere(trx)).map(({ name }) => name));
    const missing = months.filter(({ name }) => !there.has(name));
    for (const month of missing) {
      for (const table of tables) await attach(trx, table, month);
    }
    return missing.map(({ name }) => name);
  });
}

/** Makes what is needed at a time, unless another process is at it. */
export async function makeNeeded(db: Database, nowMs: number): Promise<string[]> {
  const there = new Set((await monthsThere(db)).map(({ name }) => name));
  const missing = monthsNeeded(nowMs).filter(({ name }) => !there.has(name));
  return missing.length > 0 ? makePartitions(db, missing) : [];
}

/** Drops the partitions of which everything was made before a time, with all that is in them. */
export async function dropPartitions(db: Database, beforeMs: number): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    select relname as name from pg_class
    where relnamespace = 'usage'::regnamespace and relkind = 'r' and relname ~ '^(records|attempts)_[0-9]{4}_[0-9]{2}$'
    order by relname`.execute(db);
  const dropped = new Set<string>();
  for (const { name } of rows) {
    const month = monthNamed(name.slice(-7));
    if (month === undefined || month.endMs > beforeMs) continue;
    await drop(db, name);
    dropped.add(month.name);
  }
  return [...dropped];
}

/** Detached first: writers wait for that alone, and not until the files are gone. */
async function drop(db: Database, name: string): Promise<void> {
  const parent = sql.table(`usage.${name.startsWith("records") ? "records" : "attempts"}`);
  const child = sql.table(`usage.${name}`);
  await locked(db, async (trx) => {
    const { rows } = await sql<{ attached: boolean }>`
      select exists (select from pg_inherits where inhrelid = to_regclass(${`usage.${name}`})) as attached`.execute(
      trx,
    );
    if (rows[0]?.attached === true) await sql`alter table ${parent} detach partition ${child}`.execute(trx);
  });
  await locked(db, (trx) => sql`drop table if exists ${child}`.execute(trx));
}

/** A table of its own that then joins: making it as a partition at once would lock out whoever writes or reads. */
async function attach(trx: Transaction<unknown>, table: (typeof tables)[number], month: Month): Promise<void> {
  const parent = sql.table(`usage.${table}`);
  const child = sql.table(`usage.${table}_${month.name}`);
  const [from, to] = idBounds(month);
  await sql`create table ${child} (like ${parent})`.execute(trx);
  const bounds = sql`from (${sql.lit(from)}) to (${sql.lit(to)})`;
  await sql`alter table ${parent} attach partition ${child} for values ${bounds}`.execute(trx);
}

function locked<T>(db: Database, work: (trx: Transaction<unknown>) => Promise<T>): Promise<T> {
  return db.transaction().execute(async (trx) => {
    await sql`set local lock_timeout = ${sql.lit(lockTimeout)}`.execute(trx);
    await sql`select pg_advisory_xact_lock(${lockId})`.execute(trx);
    return work(trx);
  });
}
