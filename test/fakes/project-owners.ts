import type { TenantStore } from "../../services/auth/store.ts";
import type { ProjectOwners } from "../../services/runtime/identity/project-owners.ts";

/** Whose projects are, as a store has it. */
export function ownersFrom(tenants: Pick<TenantStore, "getProject">): ProjectOwners {
  return {
    orgOf: async (projectId) => (await tenants.getProject({ projectId, orgId: undefined }))?.orgId,
  };
}

/** Whose projects are, by a table. */
export function ownersOf(orgs: Readonly<Record<string, string>>): ProjectOwners {
  return { orgOf: (projectId) => Promise.resolve(orgs[projectId]) };
}
