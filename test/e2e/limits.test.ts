import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Installation, shapes, startInstallation } from "../fakes/installation.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";

interface Answer {
  readonly status: number;
  // Whatever the test asked for.
  readonly body: Record<string, unknown> & { readonly limit?: { readonly id: string; readonly spec: object } };
}

describe.each(shapes)("limits by plain HTTP on the public port, in %s", (shape) => {
  let engine: SimulatorProcess;
  let weir: Installation;

  beforeAll(async () => {
    engine = await startSimulatorProcess(["--model", "weir-sim"]);
    const yaml = `pools: [{ id: sim, replicas: [{ url: "${engine.httpUrl}" }] }]\nmodels: [{ id: weir-sim, pool: sim }]`;
    weir = await startInstallation(shape, { yaml });
  }, 120_000);
  afterAll(async () => {
    await weir?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
  });

  const call = async (method: string, body: object | string, key = weir.key): Promise<Answer> => {
    const path = method.includes("/") ? method : `weir.quota.v1.LimitService/${method}`;
    const response = await fetch(`${weir.control.url}/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
    return { status: response.status, body: JSON.parse(await response.text()) };
  };

  const spec = (over: object = {}) => ({
    name: "search",
    subject: { kind: "SUBJECT_KIND_PROJECT", id: "default" },
    dimension: "DIMENSION_TOTAL_TOKENS",
    count: "100000",
    rate: { per: "60s" },
    ...over,
  });

  test("one is made, seen, changed and removed", async () => {
    const request = { requestId: "limits-1", spec: spec() };
    const made = await call("CreateLimit", request);
    expect(made).toMatchObject({ status: 200, body: { limit: { orgId: "default", spec: spec() } } });
    expect((await call("CreateLimit", request)).body).toEqual(made.body);
    const limitId = made.body.limit?.id;
    expect((await call("GetLimit", { limitId })).body).toEqual(made.body);
    expect((await call("ListLimits", {})).body).toMatchObject({ limits: [{ id: limitId }] });
    expect((await call("GetLimitStatus", {})).body).toMatchObject({
      limits: [{ limit: { id: limitId }, remaining: "100000" }],
    });
    const changed = await call("UpdateLimit", { limitId, count: "5", updateMask: "count" });
    expect(changed.body).toMatchObject({ limit: { spec: spec({ count: "5" }) } });
    expect((await call("GetLimitStatus", {})).body).toMatchObject({ limits: [{ remaining: "5" }] });
    expect(await call("DeleteLimit", { limitId })).toEqual({ status: 200, body: {} });
    expect(await call("GetLimit", { limitId })).toMatchObject({ status: 404, body: { code: "not_found" } });
    expect((await call("GetLimitStatus", {})).body).toEqual({});
  });

  test("a team's key may look and not write", async () => {
    const made = await call("weir.auth.v1.KeyService/CreateKey", {
      requestId: "limits-key",
      name: "team",
      permissions: ["models.invoke", "limits.read"],
    });
    const secret = String(made.body["secret"]);
    expect((await call("GetLimitStatus", {}, secret)).status).toBe(200);
    const refused = await call("CreateLimit", { requestId: "limits-2", spec: spec() }, secret);
    expect(refused).toMatchObject({ status: 403, body: { code: "permission_denied" } });
    expect((await call("CreateLimit", { requestId: "limits-2", spec: spec() }, "")).status).toBe(401);
  });

  test.each([
    ["a negative count", spec({ count: "-1" })],
    ["a count that is no number", spec({ count: "NaN" })],
    ["NaN itself", '{"requestId":"bad","spec":{"count":NaN}}'],
    [
      "a count that a number cannot hold",
      `{"requestId":"bad","spec":${JSON.stringify(spec({ count: 0 })).replace('"count":0', '"count":1e400')}}`,
    ],
    ["a fraction", spec({ count: "1.5" })],
    ["a count above 2^63", spec({ count: "9223372036854775808" })],
    ["an absurd count", spec({ count: "1000000000000001" })],
    ["a count of another kind", spec({ count: true })],
    ["two ceilings", spec({ costNanos: "5" })],
    ["two windows", spec({ budget: { period: "CALENDAR_PERIOD_DAY" } })],
    ["a dimension of nobody", spec({ dimension: "DIMENSION_LUCK" })],
    ["a member that is none", spec({ cuont: "5" })],
    ["a rate of no time", spec({ rate: { per: "-60s" } })],
  ])("%s is refused, and makes none", async (_what, body) => {
    const answer = await call("CreateLimit", typeof body === "string" ? body : { requestId: "bad", spec: body });
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
    expect((await call("ListLimits", {})).body).toEqual({});
  });

  test("a foreign tenant's project or key cannot be limited, and says nothing of being there", async () => {
    await call("weir.auth.v1.TenantService/CreateOrg", { requestId: "org", orgId: "other", name: "Other" });
    const project = { requestId: "project", orgId: "other", projectId: "theirs", name: "Theirs" };
    await call("weir.auth.v1.TenantService/CreateProject", project);
    const own = await call("weir.auth.v1.KeyService/CreateKey", {
      requestId: "limits-org-key",
      name: "org admin",
      permissions: ["limits.read", "limits.write"],
      reach: "REACH_ORG",
    });
    const secret = String(own.body["secret"]);
    const told = async (id: string) => {
      const subject = { kind: "SUBJECT_KIND_PROJECT", id };
      const answer = await call("CreateLimit", { requestId: `r-${id}`, spec: spec({ subject }) }, secret);
      return JSON.stringify(answer)
        .replaceAll(id, "ID")
        .replaceAll(/"value":"[^"]*"/g, '"value":""');
    };
    expect(JSON.parse(await told("theirs"))).toMatchObject({ status: 404 });
    expect(await told("theirs")).toBe(await told("nobody"));
    const named = await call("ListLimits", { orgId: "other" }, secret);
    expect(named.status).toBe(404);
  });
});
