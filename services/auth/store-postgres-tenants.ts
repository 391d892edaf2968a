import { type Selectable, sql } from "kysely";
import type { CreateRequest, ProjectScope, StoredOrg, StoredProject, TenantStore } from "./store.ts";
import type { AuthDatabase, AuthTables, AuthTransaction } from "./store-postgres-tables.ts";
import { answered, nextRevision, repeated, write } from "./store-postgres-write.ts";

interface NewOrg {
  readonly id: string;
  readonly name: string;
  readonly request: CreateRequest;
}

interface NewProject extends NewOrg {
  readonly orgId: string;
}

export function tenantStore(db: AuthDatabase): TenantStore {
  return {
    createOrg: (org) => write(db, (trx) => createOrg(trx, org)),
    getOrg: (orgId) =>
      answered(
        db
          .selectFrom("auth.orgs")
          .selectAll()
          .where("id", "=", orgId)
          .executeTakeFirst()
          .then((row) => row && orgFromRow(row)),
      ),
    listOrgs: (page) =>
      answered(
        db
          .selectFrom("auth.orgs")
          .selectAll()
          .where("id", ">", page.after)
          .orderBy("id")
          .limit(page.limit)
          .execute()
          .then((rows) => rows.map(orgFromRow)),
      ),
    renameOrg: (orgId, name) => write(db, (trx) => renameOrg(trx, orgId, name)),
    createProject: (project) => write(db, (trx) => createProject(trx, project)),
    getProject: (project) =>
      answered(
        projectsIn(db, project)
          .executeTakeFirst()
          .then((row) => row && projectFromRow(row)),
      ),
    listProjects: (orgId, page) =>
      answered(
        db
          .selectFrom("auth.projects")
          .selectAll()
          .where("org_id", "=", orgId)
          .where("id", ">", page.after)
          .orderBy("id")
          .limit(page.limit)
          .execute()
          .then((rows) => rows.map(projectFromRow)),
      ),
    renameProject: (project, name) => write(db, (trx) => renameProject(trx, project, name)),
  };
}

function projectsIn(db: AuthDatabase, project: ProjectScope) {
  return db
    .selectFrom("auth.projects")
    .selectAll()
    .where("id", "=", project.projectId)
    .$if(project.orgId !== undefined, (q) => q.where("org_id", "=", project.orgId ?? ""));
}

/** Makes an organisation, within a write. */
export async function createOrg(trx: AuthTransaction, org: NewOrg): ReturnType<TenantStore["createOrg"]> {
  const before = await trx
    .selectFrom("auth.orgs")
    .selectAll()
    .where("request_id", "=", org.request.id)
    .executeTakeFirst();
  if (before) return repeated(org.request, before.request_fingerprint, orgFromRow(before));
  await nextRevision(trx);
  const row = await trx
    .insertInto("auth.orgs")
    .values({ id: org.id, name: org.name, ...requestColumns(org.request) })
    .onConflict((conflict) => conflict.column("id").doNothing())
    .returningAll()
    .executeTakeFirst();
  return row ? { kind: "created", resource: orgFromRow(row) } : { kind: "id_taken" };
}

/** Makes a project, within a write. */
export async function createProject(
  trx: AuthTransaction,
  project: NewProject,
): ReturnType<TenantStore["createProject"]> {
  const org = await trx.selectFrom("auth.orgs").select("id").where("id", "=", project.orgId).executeTakeFirst();
  if (!org) return { kind: "no_parent" };
  const before = await trx
    .selectFrom("auth.projects")
    .selectAll()
    .where("org_id", "=", project.orgId)
    .where("request_id", "=", project.request.id)
    .executeTakeFirst();
  if (before) return repeated(project.request, before.request_fingerprint, projectFromRow(before));
  await nextRevision(trx);
  const row = await trx
    .insertInto("auth.projects")
    .values({ id: project.id, org_id: project.orgId, name: project.name, ...requestColumns(project.request) })
    .onConflict((conflict) => conflict.column("id").doNothing())
    .returningAll()
    .executeTakeFirst();
  return row ? { kind: "created", resource: projectFromRow(row) } : { kind: "id_taken" };
}

async function renameOrg(trx: AuthTransaction, orgId: string, name: string): Promise<StoredOrg | undefined> {
  await nextRevision(trx);
  const row = await trx
    .updateTable("auth.orgs")
    .set({ name, update_time: sql<Date>`now()` })
    .where("id", "=", orgId)
    .returningAll()
    .executeTakeFirst();
  return row && orgFromRow(row);
}

async function renameProject(
  trx: AuthTransaction,
  project: ProjectScope,
  name: string,
): Promise<StoredProject | undefined> {
  await nextRevision(trx);
  const row = await trx
    .updateTable("auth.projects")
    .set({ name, update_time: sql<Date>`now()` })
    .where("id", "=", project.projectId)
    .$if(project.orgId !== undefined, (q) => q.where("org_id", "=", project.orgId ?? ""))
    .returningAll()
    .executeTakeFirst();
  return row && projectFromRow(row);
}

function requestColumns(request: CreateRequest) {
  return { request_id: request.id, request_fingerprint: request.fingerprint };
}

function orgFromRow(row: Selectable<AuthTables["auth.orgs"]>): StoredOrg {
  return { id: row.id, name: row.name, createMs: row.create_time.getTime(), updateMs: row.update_time.getTime() };
}

function projectFromRow(row: Selectable<AuthTables["auth.projects"]>): StoredProject {
  return { ...orgFromRow(row), orgId: row.org_id };
}
