import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Org, OrgSchema, type Project, ProjectSchema } from "../../gen/ts/weir/auth/v1/tenant_pb.ts";
import type { TenantService } from "../../gen/ts/weir/auth/v1/tenant_service_pb.ts";
import { checkText, fingerprintOf, invalid, maskedFields } from "../runtime/arguments.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import { keyFromToken, tokenFromKey } from "../runtime/paging.ts";
import { createdOr, notFound, projectScope } from "./scope.ts";
import type { IdPage, StoredOrg, StoredProject, TenantStore } from "./store.ts";

const pageSizeDefault = 50;

/** Makes, shows and renames organisations and projects. */
export function tenantService(store: TenantStore): ServiceImplementation<typeof TenantService> {
  return {
    async createOrg({ orgId: id, name, requestId }) {
      checkText("name", name);
      const request = { id: requestId, fingerprint: fingerprintOf({ id, name }) };
      const outcome = await store.createOrg({ id, name, request });
      const parent = notFound("organization", id);
      return { org: orgFromStored(createdOr(outcome, { requestId, resource: "organization", id, parent })) };
    },

    async getOrg(_request, { scope }) {
      return { org: orgFromStored(orgOr(await store.getOrg(scope.id), scope.id)) };
    },

    async listOrgs(request) {
      const { items, nextPageToken } = await page(request, (wanted) => store.listOrgs(wanted));
      return { orgs: items.map(orgFromStored), nextPageToken };
    },

    async updateOrg({ updateMask, name }, { scope }) {
      maskedFields(updateMask, ["name"]);
      checkText("name", name);
      return { org: orgFromStored(orgOr(await store.renameOrg(scope.id, name), scope.id)) };
    },

    async createProject({ projectId: id, name, requestId }, { scope }) {
      checkText("name", name);
      const request = { id: requestId, fingerprint: fingerprintOf({ id, name }) };
      const outcome = await store.createProject({ id, orgId: scope.id, name, request });
      const parent = notFound("organization", scope.id);
      return { project: projectFromStored(createdOr(outcome, { requestId, resource: "project", id, parent })) };
    },

    async getProject(_request, context) {
      const project = await store.getProject(projectScope(context));
      return { project: projectFromStored(projectOr(project, context.scope.id)) };
    },

    async listProjects(request, { scope }) {
      const { items, nextPageToken } = await page(request, (wanted) => store.listProjects(scope.id, wanted));
      return { projects: items.map(projectFromStored), nextPageToken };
    },

    async updateProject({ updateMask, name }, context) {
      maskedFields(updateMask, ["name"]);
      checkText("name", name);
      const project = await store.renameProject(projectScope(context), name);
      return { project: projectFromStored(projectOr(project, context.scope.id)) };
    },
  };
}

/** Of an organisation's or a project's id, as the contract says. */
const idShape = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** One page by id; one more is read to know whether there is a next one. */
async function page<T extends { readonly id: string }>(
  { pageSize, pageToken }: { readonly pageSize: number; readonly pageToken: string },
  read: (wanted: IdPage) => Promise<readonly T[]>,
): Promise<{ items: readonly T[]; nextPageToken: string }> {
  const limit = pageSize || pageSizeDefault;
  const after = keyFromToken(pageToken);
  if (after !== "" && !idShape.test(after)) throw invalid("page_token", "it is no next_page_token of this list");
  const found = await read({ limit: limit + 1, after });
  const items = found.slice(0, limit);
  const last = items.at(-1);
  return { items, nextPageToken: last && found.length > limit ? tokenFromKey(last.id) : "" };
}

function orgOr(org: StoredOrg | undefined, id: string): StoredOrg {
  if (!org) throw notFound("organization", id);
  return org;
}

function projectOr(project: StoredProject | undefined, id: string): StoredProject {
  if (!project) throw notFound("project", id);
  return project;
}

function orgFromStored({ id, name, createMs, updateMs }: StoredOrg): Org {
  const times = { createTime: timestampFromMs(createMs), updateTime: timestampFromMs(updateMs) };
  return create(OrgSchema, { id, name, ...times });
}

function projectFromStored({ id, orgId, name, createMs, updateMs }: StoredProject): Project {
  const times = { createTime: timestampFromMs(createMs), updateTime: timestampFromMs(updateMs) };
  return create(ProjectSchema, { id, orgId, name, ...times });
}
