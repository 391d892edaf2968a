import type { InstallationStore, NewKey } from "./store.ts";
import { insertKey } from "./store-postgres-keys.ts";
import type { AuthDatabase, AuthTransaction } from "./store-postgres-tables.ts";
import { createOrg, createProject } from "./store-postgres-tenants.ts";
import { answered, write } from "./store-postgres-write.ts";

/** The name of the first organisation and of its first project. */
const first = "default";
/** No caller can have sent it: request ids have no colon. */
const bootstrapRequest = { id: "weir:bootstrap", fingerprint: "" };

export function installationStore(db: AuthDatabase): InstallationStore {
  return {
    keepFirstKey: (key, replace) => write(db, (trx) => keepFirstKey(trx, key, replace)),
    firstKeyId: () => answered(firstKeyId(db)),
    keepPeppers: (fingerprints) => write(db, (trx) => keepPeppers(trx, fingerprints)),
  };
}

async function firstKeyId(db: AuthDatabase): Promise<string | undefined> {
  const state = await db.selectFrom("auth.state").select("first_key_id").executeTakeFirst();
  return state?.first_key_id ?? undefined;
}

async function keepFirstKey(
  trx: AuthTransaction,
  key: Omit<NewKey, "request" | "creatorKeyId">,
  replace: boolean,
): Promise<{ keyId: string; made: boolean }> {
  const before = await firstKeyId(trx);
  if (before !== undefined && !replace) return { keyId: before, made: false };
  // Ids that are taken are the ones that we want.
  await createOrg(trx, { id: first, name: "Default", request: bootstrapRequest });
  await createProject(trx, { id: first, orgId: first, name: "Default", request: bootstrapRequest });
  const request = { id: `weir:first-key:${key.id}`, fingerprint: "" };
  await insertKey(trx, first, { ...key, creatorKeyId: "", request });
  await trx.updateTable("auth.state").set({ first_key_id: key.id }).execute();
  return { keyId: key.id, made: true };
}

async function keepPeppers(
  trx: AuthTransaction,
  fingerprints: ReadonlyMap<number, string>,
): Promise<ReadonlyMap<number, string>> {
  await trx
    .insertInto("auth.peppers")
    .values([...fingerprints].map(([version, fingerprint]) => ({ version, fingerprint })))
    .onConflict((conflict) => conflict.column("version").doNothing())
    .execute();
  const rows = await trx.selectFrom("auth.peppers").selectAll().execute();
  return new Map(rows.map(({ version, fingerprint }) => [version, fingerprint]));
}
