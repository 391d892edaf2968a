import { isDeepStrictEqual } from "node:util";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Key } from "../../gen/ts/weir/auth/v1/key_pb.ts";
import type {
  CreateKeyRequest,
  CreateKeyRequestSchema,
  UpdateKeyRequest,
  UpdateKeyRequestSchema,
} from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { type Principal, Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { formatKey } from "../../services/runtime/identity/key-format.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { type AuthHarness, principal, startAuth, told } from "./auth-harness.ts";

let harness: AuthHarness;

beforeAll(async () => {
  harness = await startAuth();
  for (const caller of [orgAdmin, member, reader, small]) await harness.keep(caller);
});
afterAll(() => harness[Symbol.asyncDispose]());

type Create = Exclude<MessageInitShape<typeof CreateKeyRequestSchema>, CreateKeyRequest>;
type Update = Exclude<MessageInitShape<typeof UpdateKeyRequestSchema>, UpdateKeyRequest>;

const by = (caller: Principal) => withCallOptions({ principal: caller });
const admin = principal();
const orgAdmin = principal({ keyId: "orgAdmin", reach: Reach.ORG });
const member = principal({
  keyId: "member",
  reach: Reach.PROJECT,
  permissions: ["keys.write", "keys.read", "models.invoke", "models.read"],
  models: { names: ["m", "qwen-*"] },
  expireTime: timestampFromMs(Date.UTC(2100, 0, 1)),
});
const reader = principal({ keyId: "reader", permissions: ["keys.read"] });
const small = principal({ keyId: "small", models: { names: ["m"] } });

let requests = 0;
const requestId = () => `request-${++requests}`;

async function newKey(request: Create = {}, caller: Principal = admin) {
  const { key, secret } = await harness.keys.createKey({ requestId: requestId(), name: "k", ...request }, by(caller));
  if (!key) throw new Error("no key");
  return { key, secret };
}

test("a key is shown once, and is then who its owner said", async () => {
  const expireMs = Date.now() + 3_600_000;
  const request = {
    requestId: requestId(),
    projectId: "acme-two",
    name: "robot",
    permissions: ["models.invoke", "usage.read"],
    reach: Reach.ORG,
    models: { names: ["m", "qwen-*"] },
    expireTime: timestampFromMs(expireMs),
    labels: { team: "blue" },
  };
  const made = await newKey(request);
  expect(made.secret).toMatch(/^weir_[0-9A-Za-z]{12}_[0-9A-Za-z]{36}$/);
  expect(made.secret.slice(5, 17)).toBe(made.key.id);
  expect(made.key).toMatchObject({
    orgId: "acme",
    projectId: "acme-two",
    name: "robot",
    reach: Reach.ORG,
    permissions: ["models.invoke", "usage.read"],
    creatorKeyId: "caller",
    labels: { team: "blue" },
  });
  const answer = await harness.auth.authenticate({ key: made.secret });
  expect(answer.outcome).toMatchObject({
    case: "principal",
    value: {
      keyId: made.key.id,
      orgId: "acme",
      projectId: "acme-two",
      reach: Reach.ORG,
      permissions: ["models.invoke", "usage.read"],
      models: { all: false, names: ["m", "qwen-*"] },
      expireTime: timestampFromMs(expireMs),
    },
  });
  expect(answer.revision).toBeGreaterThan(1n);
  expect(Math.abs(timestampMs(answer.storeTime ?? timestampFromMs(0)) - Date.now())).toBeLessThan(60_000);

  const again = await newKey(request);
  expect(again.secret).toBe("");
  expect(again.key).toEqual(made.key);
  const { reason, facts } = await told(newKey({ ...request, name: "other" }));
  expect({ reason, facts }).toEqual({ reason: "ALREADY_EXISTS", facts: { request_id: request.requestId } });
  const { key } = await harness.keys.getKey({ projectId: "acme-two", keyId: made.key.id }, by(admin));
  expect(key).toEqual(made.key);
});

test("a key whose maker said little may call what its maker may call", async () => {
  const { key } = await newKey({}, small);
  expect(key).toMatchObject({
    projectId: "acme-one",
    reach: Reach.PROJECT,
    permissions: ["models.invoke", "models.read"],
    models: { all: false, names: ["m"] },
  });
});

test("a key is refused unless it is exactly the one that was made", async () => {
  const { key, secret } = await newKey();
  const { found } = await harness.store.credentials.find(key.id);
  const mac = Buffer.from(found?.proof.mac ?? []);
  const otherSecret = formatKey(key.id, `${secret.slice(18, 20)}${"0".repeat(28)}`);
  expect(otherSecret.slice(0, 20)).toBe(secret.slice(0, 20));
  const wrong = [otherSecret, formatKey("nobody000000", "0".repeat(30)), mac.toString("hex"), mac.toString("base64")];
  for (const text of [...wrong, "x", "' OR 1=1--", "%", "$1", "\\x00"]) {
    const { outcome } = await harness.auth.authenticate({ key: text });
    expect(outcome).toMatchObject({ case: "refusal", value: { reason: ErrorReason.CREDENTIAL_INVALID } });
  }
});

test("a key is followed through revocation", async () => {
  const { key, secret } = await newKey();
  const revoked = await harness.keys.revokeKey({ keyId: key.id }, by(admin));
  expect(revoked.key?.revokeTime).toBeDefined();
  expect(await harness.keys.revokeKey({ keyId: key.id }, by(admin))).toEqual(revoked);
  const { outcome } = await harness.auth.authenticate({ key: secret });
  expect(outcome).toMatchObject({ case: "refusal", value: { reason: ErrorReason.KEY_REVOKED, keyId: key.id } });
  // Whoever does not hold the key does not learn that it was revoked.
  const guess = await harness.auth.authenticate({ key: formatKey(key.id, "0".repeat(30)) });
  expect(guess.outcome).toMatchObject({ value: { reason: ErrorReason.CREDENTIAL_INVALID } });
  const update = harness.keys.updateKey({ keyId: key.id, name: "n", updateMask: { paths: ["name"] } }, by(admin));
  expect((await told(update)).reason).toBe("KEY_REVOKED");
});

const until = (year: number) => timestampFromMs(Date.UTC(year, 0, 1));

const longNames = (count: number) => Array.from({ length: count }, (_, n) => String(n).padStart(256, "m"));
/** Of the year 9999. */
const lastSecond = 253_402_300_799n;

const creates: readonly (readonly [what: string, Principal, Create, reason: string, fact: string])[] = [
  ["its own permissions", member, { expireTime: until(2090) }, "none", ""],
  ["every permission", member, { permissions: ["*"] }, "GRANT_EXCEEDS_GRANTOR", "permission *"],
  ["one permission more", member, { permissions: ["usage.read"] }, "GRANT_EXCEEDS_GRANTOR", "permission usage.read"],
  ["a wider reach", member, { reach: Reach.ORG }, "GRANT_EXCEEDS_GRANTOR", "reach ORG"],
  ["the widest reach", orgAdmin, { reach: Reach.INSTALLATION }, "GRANT_EXCEEDS_GRANTOR", "reach INSTALLATION"],
  ["all models", member, { models: { all: true } }, "GRANT_EXCEEDS_GRANTOR", "all models"],
  ["a model more", member, { models: { names: ["m", "n"] } }, "GRANT_EXCEEDS_GRANTOR", "model n"],
  ["a wider pattern", member, { models: { names: ["qwen*"] } }, "GRANT_EXCEEDS_GRANTOR", "model qwen*"],
  ["a longer life", member, { expireTime: until(2101) }, "GRANT_EXCEEDS_GRANTOR", "use after 2100-01-01T00:00:00.000Z"],
  ["an endless life", member, {}, "GRANT_EXCEEDS_GRANTOR", "use after 2100-01-01T00:00:00.000Z"],
  ["another project", member, { projectId: "acme-two" }, "NOT_FOUND", "acme-two"],
  ["a project of its organisation", orgAdmin, { projectId: "acme-two" }, "none", ""],
  ["another organisation's project", orgAdmin, { projectId: "umbrella-one" }, "NOT_FOUND", "umbrella-one"],
  ["a project that is not there", admin, { projectId: "nowhere" }, "NOT_FOUND", "nowhere"],
  [
    "a permission that is none",
    admin,
    { permissions: ["models.invoke", "gpu.melt"] },
    "INVALID_ARGUMENT",
    "permissions[1]",
  ],
  ["a permission in capitals", admin, { permissions: ["Models.Invoke"] }, "INVALID_ARGUMENT", "permissions[0]"],
  ["a NUL in its name", admin, { name: "a\0b" }, "INVALID_ARGUMENT", "name"],
  ["a NUL in a label", admin, { labels: { a: "\0" } }, "INVALID_ARGUMENT", "labels"],
  ["no name", admin, { name: "" }, "INVALID_ARGUMENT", "name"],
  [
    "an end before its start",
    admin,
    { startTime: until(2031), expireTime: until(2030) },
    "INVALID_ARGUMENT",
    "expire_time",
  ],
  ["as many model names as there is room for", admin, { models: { names: longNames(64) } }, "none", ""],
  ["too many long model names", admin, { models: { names: longNames(65) } }, "INVALID_ARGUMENT", "models.names"],
  [
    "a start before the calendar",
    admin,
    { startTime: { seconds: -62_135_596_801n } },
    "INVALID_ARGUMENT",
    "start_time",
  ],
  ["the last end that can be said", admin, { expireTime: { seconds: lastSecond } }, "none", ""],
  ["an end in the year 10000", admin, { expireTime: { seconds: lastSecond + 1n } }, "INVALID_ARGUMENT", "expire_time"],
  [
    "an end a moment before it",
    admin,
    { expireTime: { seconds: lastSecond, nanos: 1 } },
    "INVALID_ARGUMENT",
    "expire_time",
  ],
  ["an end that is no time", admin, { expireTime: { seconds: 2n ** 60n } }, "INVALID_ARGUMENT", "expire_time"],
  [
    "a start with nanos of two seconds",
    admin,
    { startTime: { seconds: 0n, nanos: 2e9 } },
    "INVALID_ARGUMENT",
    "start_time",
  ],
  ["all models and names", admin, { models: { all: true, names: ["m"] } }, "INVALID_ARGUMENT", "models"],
  ["no request_id", admin, { requestId: "" }, "INVALID_ARGUMENT", "request_id"],
  ["who may not make keys", reader, {}, "PERMISSION_DENIED", "keys.write"],
];

test.each(creates)("making a key with %s", async (_what, caller, request, reason, fact) => {
  const failure = await told(newKey(request, caller));
  expect(failure.reason).toBe(reason);
  expect(["", ...Object.values(failure.facts)]).toContain(fact);
});

const updates: readonly (readonly [what: string, Principal, Update, paths: string[], reason: string])[] = [
  ["a name", member, { name: "new" }, ["name"], "none"],
  ["fewer permissions", member, { permissions: ["models.read"] }, ["permissions"], "none"],
  ["more permissions", member, { permissions: ["usage.read"] }, ["permissions"], "GRANT_EXCEEDS_GRANTOR"],
  ["unknown permissions", admin, { permissions: ["gpu.melt"] }, ["permissions"], "INVALID_ARGUMENT"],
  ["more models", member, { models: { all: true } }, ["models"], "GRANT_EXCEEDS_GRANTOR"],
  [
    "an end in the year 10000",
    admin,
    { expireTime: { seconds: lastSecond + 1n } },
    ["expire_time"],
    "INVALID_ARGUMENT",
  ],
  ["too many long models", admin, { models: { names: longNames(65) } }, ["models"], "INVALID_ARGUMENT"],
  ["no end", member, {}, ["expire_time"], "GRANT_EXCEEDS_GRANTOR"],
  ["no end, by who has none", admin, {}, ["expire_time"], "none"],
  ["models that are not said", admin, {}, ["models"], "INVALID_ARGUMENT"],
  ["an empty name", admin, { name: "" }, ["name"], "INVALID_ARGUMENT"],
  ["nothing", admin, { name: "x" }, [], "INVALID_ARGUMENT"],
  ["its reach", admin, { name: "x" }, ["name", "reach"], "INVALID_ARGUMENT"],
  ["its project", admin, {}, ["project_id"], "INVALID_ARGUMENT"],
  ["everything", admin, {}, ["*"], "INVALID_ARGUMENT"],
];

test.each(updates)("changing %s of a key", async (_what, caller, request, paths, reason) => {
  const { key } = await newKey({ expireTime: until(2090), models: { names: ["m"] } }, member);
  const update = harness.keys.updateKey({ ...request, keyId: key.id, updateMask: { paths } }, by(caller));
  expect((await told(update)).reason).toBe(reason);
  const after = (await harness.keys.getKey({ keyId: key.id }, by(admin))).key;
  expect(isDeepStrictEqual(after, key)).toBe(reason !== "none");
});

test("an update changes what its mask names and nothing else", async () => {
  const { key } = await newKey({ labels: { a: "1" }, expireTime: until(2090) });
  const { key: after } = await harness.keys.updateKey(
    {
      keyId: key.id,
      updateMask: { paths: ["name", "labels", "start_time"] },
      name: "new",
      permissions: ["*"],
      models: { names: ["other"] },
      labels: { b: "2" },
      startTime: until(2026),
    },
    by(admin),
  );
  expect(after).toEqual({
    ...key,
    name: "new",
    labels: { b: "2" },
    startTime: until(2026),
    updateTime: after?.updateTime,
  });
});

test("a key that reaches further is not a lesser key's to touch", async () => {
  const { key } = await newKey({ reach: Reach.INSTALLATION, permissions: ["*"] });
  const touch = [
    () => harness.keys.revokeKey({ keyId: key.id }, by(member)),
    () => harness.keys.updateKey({ keyId: key.id, name: "x", updateMask: { paths: ["name"] } }, by(orgAdmin)),
    () =>
      harness.keys.updateKey({ keyId: key.id, permissions: [], updateMask: { paths: ["permissions"] } }, by(member)),
  ];
  for (const work of touch) {
    expect(await told(work())).toEqual({
      reason: "GRANT_EXCEEDS_GRANTOR",
      facts: { permission: "reach INSTALLATION" },
    });
  }
  expect((await harness.keys.getKey({ keyId: key.id }, by(member))).key).toEqual(key);
});

test("whoever may only write names can't lengthen the life of a key that may more", async () => {
  const { key } = await newKey({ permissions: ["*"], expireTime: until(2080) });
  const longer = { keyId: key.id, expireTime: until(2090), updateMask: { paths: ["expire_time"] } };
  expect(await told(harness.keys.updateKey(longer, by(member)))).toMatchObject({ reason: "GRANT_EXCEEDS_GRANTOR" });
});

const expired = () => sql`update auth.keys set expire_time = now() - interval '1 s' where id = ${holder}`;
const notYet = () => sql`update auth.keys set start_time = now() + interval '1 h' where id = ${holder}`;
let holder = "";
const change = (request: Update, path: string) => () =>
  harness.keys.updateKey({ ...request, keyId: holder, updateMask: { paths: [path] } }, by(admin));
const losses: readonly (readonly [what: string, lose: () => Promise<unknown>, reason: string, alsoRevokes: boolean])[] =
  [
    ["was revoked", () => harness.keys.revokeKey({ keyId: holder }, by(admin)), "KEY_REVOKED", false],
    ["has ended", () => expired().execute(harness.database.kysely()), "KEY_EXPIRED", false],
    ["begins later", () => notYet().execute(harness.database.kysely()), "KEY_NOT_YET_VALID", false],
    ["writes keys no more", change({ permissions: ["models.invoke"] }, "permissions"), "PERMISSION_DENIED", false],
    [
      "was left fewer permissions",
      change({ permissions: ["keys.write"] }, "permissions"),
      "GRANT_EXCEEDS_GRANTOR",
      true,
    ],
    ["was left fewer models", change({ models: { names: ["m"] } }, "models"), "GRANT_EXCEEDS_GRANTOR", true],
    ["was given an end", change({ expireTime: until(2090) }, "expire_time"), "GRANT_EXCEEDS_GRANTOR", true],
    [
      "is not there",
      () => sql`delete from auth.keys where id = ${holder}`.execute(harness.database.kysely()),
      "CREDENTIAL_INVALID",
      false,
    ],
  ];

test.each(losses)(
  "a key that %s is judged so at once, although another is remembered",
  async (_what, lose, reason, alsoRevokes) => {
    const other = (await newKey()).key;
    const { key } = await newKey({ permissions: ["*"] });
    const remembered = principal({ keyId: key.id });
    holder = key.id;
    await lose();
    const mask = { updateMask: { paths: ["permissions"] } };
    const writes = [
      () => newKey({ permissions: ["usage.read"] }, remembered),
      () => harness.keys.updateKey({ keyId: other.id, permissions: ["usage.read"], ...mask }, by(remembered)),
    ];
    for (const write of writes) expect((await told(write())).reason).toBe(reason);
    expect((await harness.keys.getKey({ keyId: other.id }, by(admin))).key).toEqual(other);
    const revoking = await told(harness.keys.revokeKey({ keyId: other.id }, by(remembered)));
    expect(revoking.reason).toBe(alsoRevokes ? "none" : reason);
  },
);

test("of another project, organisation or nobody's, a key is not found", async () => {
  const mine = (await newKey()).key;
  const theirs = (await newKey({ projectId: "umbrella-one" })).key;
  const asked: readonly (readonly [Principal, string, string])[] = [
    [member, "", theirs.id],
    [member, "umbrella-one", theirs.id],
    [member, "acme-two", mine.id],
    [orgAdmin, "umbrella-one", theirs.id],
    [orgAdmin, "acme-two", mine.id],
    [admin, "umbrella-two", theirs.id],
    [admin, "", "nobody"],
    [admin, "nowhere", mine.id],
  ];
  for (const [caller, projectId, keyId] of asked) {
    expect((await told(harness.keys.getKey({ projectId, keyId }, by(caller)))).reason).toBe("NOT_FOUND");
    expect((await told(harness.keys.revokeKey({ projectId, keyId }, by(caller)))).reason).toBe("NOT_FOUND");
    const update = { projectId, keyId, name: "x", updateMask: { paths: ["name"] } };
    expect((await told(harness.keys.updateKey(update, by(caller)))).reason).toBe("NOT_FOUND");
  }
  expect((await harness.keys.getKey({ projectId: "umbrella-one", keyId: theirs.id }, by(admin))).key).toEqual(theirs);
  expect((await told(harness.keys.listKeys({ projectId: "umbrella-one" }, by(orgAdmin)))).reason).toBe("NOT_FOUND");
});

test("keys are listed in pages, newest first, without repeating what is made meanwhile", async () => {
  const caller = principal({ projectId: "umbrella-two", orgId: "umbrella" });
  const made: Key[] = [];
  for (let n = 0; n < 5; n++) made.unshift((await newKey({}, caller)).key);
  const listed: Key[] = [];
  let pageToken = "";
  do {
    const page = await harness.keys.listKeys({ pageSize: 2, pageToken }, by(caller));
    expect(page.keys.length).toBeLessThanOrEqual(2);
    listed.push(...page.keys);
    pageToken = page.nextPageToken;
    await newKey({}, caller);
  } while (pageToken);
  expect(listed).toEqual(made);
  for (const token of [
    "x",
    "!!!",
    Buffer.from("acme").toString("base64url"),
    Buffer.from("-1").toString("base64url"),
  ]) {
    expect(await told(harness.keys.listKeys({ pageToken: token }, by(caller)))).toMatchObject({
      reason: "INVALID_ARGUMENT",
      facts: { param: "page_token" },
    });
  }
});
