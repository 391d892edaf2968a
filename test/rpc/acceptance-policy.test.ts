import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { drain, failureOf, indexesOf, known, nothingIsLeft, requestId } from "./calls.ts";
import { Ending } from "./gen/acceptance/v1/probe_service_pb.ts";
import { createHarness, type Harness, principal, transports } from "./harness.ts";

let harness: Harness;

describe.each(transports)("%s", (name) => {
  beforeEach(async () => {
    harness = await createHarness(name);
  });
  afterEach(async () => {
    await nothingIsLeft(harness);
    await harness[Symbol.asyncDispose]();
  });

  test("the handler sees principal, scope and request id", async () => {
    const answer = await harness.client.ask({}, withCallOptions(known));
    expect(answer).toMatchObject({ keyId: "key1", scopeId: "project1", requestId });
    expect(harness.probe.context?.principal).toEqual(known.principal);
    expect(harness.probe.context?.method.name).toBe("Ask");
  });

  test("the principal is nobody's to change", async () => {
    await harness.client.ask({}, withCallOptions(known));
    expect(() => harness.probe.context?.principal?.permissions.push("*")).toThrow(TypeError);
    expect(known.principal.permissions).toEqual(["models.read"]);
  });

  test("a permission that the key lacks is denied", async () => {
    const error = await failureOf(harness.client.change({}, withCallOptions(known)));
    expect(error.reason).toBe(ErrorReason.PERMISSION_DENIED);
    expect(error.facts).toEqual({ permission: "keys.write" });
  });

  test("a scope that the key does not reach is not found", async () => {
    const error = await failureOf(harness.client.ask({ projectId: "another" }, withCallOptions(known)));
    expect(error.reason).toBe(ErrorReason.NOT_FOUND);
    const wide = principal({ permissions: ["keys.write"], reach: Reach.ORG });
    const refused = await failureOf(harness.client.change({}, withCallOptions({ principal: wide })));
    expect(refused.reason).toBe(ErrorReason.NOT_FOUND);
    expect(harness.probe.entered).toBe(0);
  });

  test.each([
    ["INSTALLATION", "project3", "reached"],
    ["INSTALLATION", "nowhere", "not found"],
    ["ORG", "project2", "reached"],
    ["ORG", "project3", "not found"],
    ["ORG", "nowhere", "not found"],
    ["PROJECT", "project2", "not found"],
  ] as const)("a key that reaches %s and names %s: %s, in every kind of call", async (reach, projectId, outcome) => {
    const wide = withCallOptions({ principal: principal({ reach: Reach[reach] }) });
    const behaviour = { count: 1 };
    if (outcome === "reached") {
      expect((await harness.client.ask({ projectId }, wide)).scopeId).toBe(projectId);
      await drain(harness.client.count({ projectId, behaviour }, wide));
      await drain(harness.client.push({ projectId, behaviour }, wide));
      return;
    }
    const errors = [
      await failureOf(harness.client.ask({ projectId }, wide)),
      await failureOf(drain(harness.client.count({ projectId, behaviour }, wide))),
      await failureOf(drain(harness.client.push({ projectId, behaviour }, wide))),
    ];
    expect(errors.map((error) => error.reason)).toEqual(Array.from({ length: 3 }, () => ErrorReason.NOT_FOUND));
    expect(harness.probe.entered).toBe(0);
  });

  test("nobody may call what declares no policy", async () => {
    const almighty = { principal: principal({ permissions: ["*"], reach: Reach.INSTALLATION }) };
    const one = await failureOf(harness.client.forget({}, withCallOptions(almighty)));
    const many = await failureOf(drain(harness.client.forgetMany({}, withCallOptions(almighty))));
    expect([one.reason, many.reason]).toEqual([ErrorReason.METHOD_UNDECLARED, ErrorReason.METHOD_UNDECLARED]);
    expect(harness.probe.entered).toBe(0);
  });

  test("a call on nobody's behalf is refused, unless the method is for processes", async () => {
    const error = await failureOf(harness.client.ask({}, withCallOptions({})));
    expect(error.reason).toBe(ErrorReason.CREDENTIAL_MISSING);
    expect(await harness.client.exchange({}, withCallOptions({}))).toMatchObject({ keyId: "" });
  });

  test("a request is held against its contract, and all its problems told", async () => {
    const name = "longer than sixteen";
    const error = await failureOf(
      harness.client.ask({ name, items: ["1", "2", "3", "4", "5"] }, withCallOptions(known)),
    );
    expect(error.reason).toBe(ErrorReason.INVALID_ARGUMENT);
    expect(error.facts).toMatchObject({ param: "name", code: "string_above_max_length" });
    expect(error.facts["problem"]).toContain("`items`");
    expect(error.message).not.toContain(name);
    expect(
      (await failureOf(indexesOf(harness.client.push({ behaviour: { count: -1 } }, withCallOptions(known))))).facts[
        "param"
      ],
    ).toBe("behaviour.count");
    expect(harness.probe.entered).toBe(0);
  });

  test("a request that the installation built is not held against it", async () => {
    const trusted = { ...known, trusted: true };
    const answer = await harness.client.ask({ name: "longer than sixteen" }, withCallOptions(trusted));
    expect(answer.keyId).toBe("key1");
  });

  test("calls are counted by method and code", async () => {
    await harness.client.ask({}, withCallOptions(known));
    await failureOf(harness.client.change({}, withCallOptions(known)));
    await failureOf(indexesOf(harness.client.push({ behaviour: { ending: Ending.FAIL } }, withCallOptions(known))));
    const text = await harness.metrics.text();
    expect(text).toContain('weir_rpc_total{method="acceptance.v1.ProbeService/Ask",code="ok"} 1');
    expect(text).toContain('weir_rpc_total{method="acceptance.v1.ProbeService/Change",code="permission_denied"} 1');
    expect(text).toContain('weir_rpc_total{method="acceptance.v1.ProbeService/Push",code="unavailable"} 1');
  });

  test("an audited call leaves one line, without what was said", async () => {
    await harness.client.ask({ name: "unspoken" }, withCallOptions(known));
    const lines = harness.lines.filter(({ message }) => message === "audit");
    expect(lines).toMatchObject([
      {
        method: "acceptance.v1.ProbeService/Ask",
        key_id: "key1",
        project_id: "project1",
        scope: { kind: "PROJECT", id: "project1" },
        request_id: requestId,
        outcome: "OK",
      },
    ]);
    expect(JSON.stringify(lines)).not.toContain("unspoken");
  });
});
