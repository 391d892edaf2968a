import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { PrincipalSchema, Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { excessOf, type Grant, grantorFrom } from "../../services/auth/grants.ts";
import { knownPermissions } from "../../services/auth/permissions.ts";
import { mayCall } from "../../services/runtime/identity/allow.ts";

const all = { all: true, names: [] };
const named = (...names: string[]) => ({ all: false, names });
const endMs = Date.UTC(2027, 0, 1);

const everything: Grant = {
  reach: Reach.INSTALLATION,
  permissions: ["*"],
  models: all,
  expireMs: undefined,
};
const little: Grant = { reach: Reach.PROJECT, permissions: ["models.invoke"], models: named("m"), expireMs: endMs };

const cases: readonly (readonly [what: string, Partial<Grant>, Partial<Grant>, excess: string | undefined])[] = [
  ["everything by who holds everything", {}, { ...everything }, undefined],
  ["a little by who holds everything", {}, {}, undefined],
  ["what is held, exactly", { ...little, permissions: ["models.invoke"] }, {}, undefined],
  ["nothing at all", { permissions: [], models: named() }, { permissions: [], models: named() }, undefined],

  ["the installation by an organisation", { reach: Reach.ORG }, { reach: Reach.INSTALLATION }, "reach INSTALLATION"],
  ["an organisation by a project", { reach: Reach.PROJECT }, { reach: Reach.ORG }, "reach ORG"],
  ["a project by an organisation", { reach: Reach.ORG }, {}, undefined],
  ["a project by a key without a reach", { reach: Reach.UNSPECIFIED }, {}, undefined],
  ["an organisation by a key without a reach", { reach: Reach.UNSPECIFIED }, { reach: Reach.ORG }, "reach ORG"],
  ["a reach that is not known yet", {}, { reach: 9 as Reach }, "reach PROJECT"],

  ["a permission not held", { permissions: ["models.read"] }, {}, "permission models.invoke"],
  [
    "one of two not held",
    { permissions: ["models.invoke"] },
    { permissions: ["models.invoke", "keys.write"] },
    "permission keys.write",
  ],
  [
    "every permission by who holds many",
    { permissions: ["models.invoke", "keys.write"] },
    { permissions: ["*"] },
    "permission *",
  ],
  ["every permission by who holds every one", {}, { permissions: ["*"] }, undefined],

  ["all models by who has some", { models: named("m") }, { models: all }, "all models"],
  ["all models by who has *", { models: named("*") }, { models: all }, undefined],
  ["* by who has all", {}, { models: named("*") }, undefined],
  ["* by who has some", { models: named("m*") }, { models: named("*") }, "model *"],
  ["a model under a pattern", { models: named("qwen-*") }, { models: named("qwen-7b") }, undefined],
  ["the pattern itself", { models: named("qwen-*") }, { models: named("qwen-*") }, undefined],
  ["a narrower pattern", { models: named("qwen-*") }, { models: named("qwen-7b*") }, undefined],
  ["a wider pattern", { models: named("qwen-*") }, { models: named("qwen*") }, "model qwen*"],
  ["a pattern by who has the model", { models: named("qwen") }, { models: named("qwen*") }, "model qwen*"],
  ["another model", { models: named("a", "b*") }, { models: named("b1", "c") }, "model c"],
  ["no model by who has none", { models: named() }, { models: named() }, undefined],
  ["a model by who has none", { models: named() }, {}, "model m"],

  ["an earlier end", { expireMs: endMs + 1 }, {}, undefined],
  ["the same end", { expireMs: endMs }, {}, undefined],
  ["a later end", { expireMs: endMs - 1 }, {}, "use after 2026-12-31T23:59:59.999Z"],
  ["no end by who has one", { expireMs: endMs }, { expireMs: undefined }, "use after 2027-01-01T00:00:00.000Z"],
];

test.each(cases)("granting %s", (_what, grantor, grant, excess) => {
  expect(excessOf({ ...little, ...grant }, { ...everything, ...grantor })).toBe(excess);
});

test("a principal grants what it holds, and a process of the installation anything", () => {
  const principal = create(PrincipalSchema, {
    keyId: "k",
    reach: Reach.ORG,
    permissions: ["models.invoke"],
    models: { names: ["m"] },
    expireTime: timestampFromMs(endMs),
  });
  expect(grantorFrom(principal)).toEqual({
    reach: Reach.ORG,
    permissions: ["models.invoke"],
    models: named("m"),
    expireMs: endMs,
  });
  expect(excessOf({ ...everything }, grantorFrom(undefined))).toBeUndefined();
  expect(grantorFrom(create(PrincipalSchema, {})).models).toEqual(named());
});

const calls: readonly (readonly [{ all?: boolean; names?: string[] } | undefined, model: string, may: boolean])[] = [
  [{ all: true }, "anything", true],
  [{ names: ["*"] }, "anything", true],
  [{ names: ["a", "b"] }, "b", true],
  [{ names: ["a"] }, "ab", false],
  [{ names: ["ab"] }, "a", false],
  [{ names: ["qwen-*"] }, "qwen-7b", true],
  [{ names: ["qwen-*"] }, "qwen-", true],
  [{ names: ["qwen-*"] }, "qwen", false],
  [{ names: ["qwen-*"] }, "Qwen-7b", false],
  [{ names: ["a.c"] }, "abc", false],
  [{ names: [] }, "a", false],
  [{ names: [] }, "", false],
  [undefined, "a", false],
];

test.each(calls)("a key for %j may call %s: %s", (models, model, may) => {
  expect(mayCall(create(PrincipalSchema, models ? { models } : {}), model)).toBe(may);
});

test("the permissions that can be granted are those that contracts ask for", () => {
  expect([...knownPermissions([])].sort()).toEqual([
    "*",
    "catalog.read",
    "engines.write",
    "keys.read",
    "keys.write",
    "limits.read",
    "limits.write",
    "models.invoke",
    "models.read",
    "tenants.read",
    "tenants.write",
    "usage.read",
  ]);
});
