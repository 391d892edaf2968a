import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { PrincipalSchema } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { Audience } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";
import { serves } from "../../../services/runtime/policy/listener.ts";
import { permitted } from "../../../services/runtime/policy/permission.ts";

const { PUBLIC, ADMIN, MESH } = Audience;

test.each([
  [["models.read"], "models.read", true],
  [["keys.read", "models.read"], "models.read", true],
  [["*"], "keys.write", true],
  [[], "models.read", false],
  [["models.*"], "models.read", false],
  [["models.rea"], "models.read", false],
  [["models.read.all"], "models.read", false],
  [["models.invoke"], "models.read", false],
] as const)("a key with %j asks for %s: %s", (permissions, permission, answer) => {
  expect(permitted(create(PrincipalSchema, { permissions: [...permissions] }), permission)).toBe(answer);
});

test.each([
  [PUBLIC, PUBLIC, true],
  [PUBLIC, ADMIN, false],
  [PUBLIC, MESH, false],
  [ADMIN, ADMIN, true],
  [ADMIN, PUBLIC, false],
  [ADMIN, MESH, false],
  [MESH, MESH, true],
  [MESH, PUBLIC, true],
  [MESH, ADMIN, true],
] as const)("listener %i serves audience %i: %s", (listener, audience, answer) => {
  expect(serves(listener, audience)).toBe(answer);
});
