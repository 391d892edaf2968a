import { afterAll, beforeAll, expect, test } from "vitest";
import { type Principal, Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { type AuthHarness, principal, startAuth, told } from "./auth-harness.ts";

let harness: AuthHarness;

beforeAll(async () => {
  harness = await startAuth();
});
afterAll(() => harness[Symbol.asyncDispose]());

const by = (caller: Principal) => withCallOptions({ principal: caller });
const admin = principal();
let requests = 0;
const requestId = () => `request-${++requests}`;
const orgAdmin = principal({ reach: Reach.ORG });

test("organisations and projects are made, renamed and listed within the caller's reach", async () => {
  const org = { requestId: requestId(), orgId: "initech", name: "Initech" };
  const made = await harness.tenants.createOrg(org, by(admin));
  expect(made.org).toMatchObject({ id: "initech", name: "Initech" });
  expect(await harness.tenants.createOrg(org, by(admin))).toEqual(made);
  expect(await told(harness.tenants.createOrg({ ...org, name: "x" }, by(admin)))).toEqual({
    reason: "ALREADY_EXISTS",
    facts: { request_id: org.requestId },
  });
  expect(await told(harness.tenants.createOrg({ ...org, requestId: requestId() }, by(admin)))).toEqual({
    reason: "ALREADY_EXISTS",
    facts: { resource: "organization", id: "initech" },
  });
  const project = { requestId: requestId(), orgId: "initech", projectId: "initech-lab", name: "Lab" };
  const { project: lab } = await harness.tenants.createProject(project, by(admin));
  expect(lab).toMatchObject({ id: "initech-lab", orgId: "initech" });
  const renamed = await harness.tenants.updateProject(
    { projectId: "initech-lab", name: "Office", updateMask: { paths: ["name"] } },
    by(admin),
  );
  expect(renamed.project).toMatchObject({ id: "initech-lab", name: "Office" });
  const orgs = await harness.tenants.listOrgs({ pageSize: 2 }, by(admin));
  expect(orgs.orgs.map(({ id }) => id)).toEqual(["acme", "initech"]);
  const rest = await harness.tenants.listOrgs({ pageSize: 2, pageToken: orgs.nextPageToken }, by(admin));
  expect(rest.orgs.map(({ id }) => id)).toEqual(["umbrella"]);
  expect(rest.nextPageToken).toBe("");
  const projects = await harness.tenants.listProjects({}, by(orgAdmin));
  expect(projects.projects.map(({ id }) => id)).toEqual(["acme-one", "acme-two"]);
});

test("an organisation or project that the caller does not reach is not found", async () => {
  const refused = [
    () => harness.tenants.getOrg({ orgId: "umbrella" }, by(orgAdmin)),
    () => harness.tenants.getOrg({ orgId: "nowhere" }, by(admin)),
    () => harness.tenants.getOrg({}, by(principal({ reach: Reach.PROJECT }))),
    () => harness.tenants.listOrgs({}, by(orgAdmin)),
    () => harness.tenants.createOrg({ requestId: requestId(), orgId: "mine", name: "x" }, by(orgAdmin)),
    () => harness.tenants.updateOrg({ orgId: "umbrella", name: "x", updateMask: { paths: ["name"] } }, by(orgAdmin)),
    () => harness.tenants.listProjects({ orgId: "umbrella" }, by(orgAdmin)),
    () =>
      harness.tenants.createProject(
        { requestId: requestId(), orgId: "umbrella", projectId: "mine", name: "x" },
        by(orgAdmin),
      ),
    () =>
      harness.tenants.createProject(
        { requestId: requestId(), orgId: "nowhere", projectId: "mine", name: "x" },
        by(admin),
      ),
    () => harness.tenants.getProject({ projectId: "umbrella-one" }, by(orgAdmin)),
    () => harness.tenants.getProject({ projectId: "acme-two" }, by(principal({ reach: Reach.PROJECT }))),
    () =>
      harness.tenants.updateProject(
        { projectId: "umbrella-one", name: "x", updateMask: { paths: ["name"] } },
        by(orgAdmin),
      ),
  ];
  for (const work of refused) expect((await told(work())).reason).toBe("NOT_FOUND");
  const own = await harness.tenants.getProject({}, by(principal({ reach: Reach.PROJECT })));
  expect(own.project?.id).toBe("acme-one");
});

test("a page token that is none is told so", async () => {
  for (const text of ["\0", "Acme", "a".repeat(64), "' or 1=1"]) {
    const pageToken = Buffer.from(text).toString("base64url");
    for (const list of [harness.tenants.listOrgs, harness.tenants.listProjects]) {
      expect(await told(list({ pageToken }, by(admin)))).toMatchObject({
        reason: "INVALID_ARGUMENT",
        facts: { param: "page_token" },
      });
    }
  }
});

test("processes of the installation are told whose an organisation, project or key is", async () => {
  const { key } = await harness.keys.createKey(
    { requestId: requestId(), name: "k", projectId: "umbrella-two" },
    by(admin),
  );
  expect(await harness.auth.resolveOrg({ orgId: "umbrella" })).toMatchObject({});
  expect(await harness.auth.resolveProject({ projectId: "umbrella-two" })).toMatchObject({ orgId: "umbrella" });
  const owner = { orgId: "umbrella", projectId: "umbrella-two" };
  expect(await harness.auth.resolveKey({ keyId: key?.id ?? "" })).toMatchObject(owner);
  await harness.keys.revokeKey({ projectId: "umbrella-two", keyId: key?.id ?? "" }, by(admin));
  expect(await harness.auth.resolveKey({ keyId: key?.id ?? "" })).toMatchObject(owner);
  for (const unknown of [
    () => harness.auth.resolveOrg({ orgId: "nowhere" }),
    () => harness.auth.resolveProject({ projectId: "nowhere" }),
    () => harness.auth.resolveKey({ keyId: "nobody" }),
  ]) {
    expect((await told(unknown())).reason).toBe("NOT_FOUND");
  }
});
