import { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { AuthStore, Created, NewKey, StoredKey } from "../../services/auth/store.ts";

/* What the suites of the auth store fill it with. */

let made = 0;

/** A key of the first pepper that no other has the id or the request of. */
export function newKey(over: Partial<NewKey> = {}): NewKey {
  made += 1;
  return {
    id: `key${made}`,
    name: "a key",
    reach: Reach.PROJECT,
    permissions: ["models.invoke"],
    models: { all: false, names: ["m", "qwen-*"] },
    startMs: undefined,
    expireMs: undefined,
    labels: {},
    creatorKeyId: "",
    mac: Uint8Array.from({ length: 32 }, (_, place) => place),
    pepperVersion: 1,
    request: { id: `request${made}`, fingerprint: "same" },
    ...over,
  };
}

/** What a create made or had made. */
export function resourceOf<T>(outcome: Created<T> | { kind: "project_full" | "org_full" }): T {
  if (outcome.kind !== "created" && outcome.kind !== "repeated") throw new Error(outcome.kind);
  return outcome.resource;
}

/** Organisations acme and umbrella, with the projects one and two each. */
export async function makeTenants(store: AuthStore): Promise<void> {
  for (const org of ["acme", "umbrella"]) {
    await store.tenants.createOrg({ id: org, name: org, request: { id: org, fingerprint: "" } });
    for (const project of ["one", "two"]) {
      const id = `${org}-${project}`;
      await store.tenants.createProject({ id, orgId: org, name: id, request: { id: project, fingerprint: "" } });
    }
  }
}

export const acme = { projectId: "acme-one", orgId: undefined };
/** Lets everybody write. */
export const anybody = () => {};
/** More than a suite makes. */
export const bounds = { perProject: 100, perOrg: 100 };

/** A key in a project. */
export async function makeKey(store: AuthStore, projectId: string, over: Partial<NewKey> = {}): Promise<StoredKey> {
  return resourceOf(await store.keys.create({ projectId, orgId: undefined }, newKey(over), bounds, anybody));
}
