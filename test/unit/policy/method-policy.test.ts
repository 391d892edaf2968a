import { expect, test } from "vitest";
import { KeyService } from "../../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { AuthService } from "../../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import { InferenceService } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { Audience, ScopeKind } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";
import { methodPolicy } from "../../../services/runtime/policy/method-policy.ts";
import { ProbeService } from "../../rpc/gen/acceptance/v1/probe_service_pb.ts";

test("a policy is read as its contract says", () => {
  expect(methodPolicy(KeyService.method.createKey)).toMatchObject({
    audience: Audience.PUBLIC,
    permission: "keys.write",
    scopeKind: ScopeKind.PROJECT,
    scopeField: { name: "project_id" },
    deadlineMs: 10_000,
    audit: true,
  });
  expect(methodPolicy(InferenceService.method.generate)).toMatchObject({ scopeField: undefined, audit: false });
  expect(methodPolicy(AuthService.method.authenticate)).toMatchObject({ audience: Audience.MESH, permission: "" });
});

test("a method that declares none has none", () => {
  expect(methodPolicy(ProbeService.method.forget)).toBeUndefined();
});
