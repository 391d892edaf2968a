import { type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InferenceService } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { formatKey } from "../../services/runtime/identity/key-format.ts";
import { rawHttp } from "../fakes/raw-http.ts";
import { expectError, type Row, send } from "../wire/edge-row.ts";
import { chat } from "../wire/json-rows.ts";
import { keyRows } from "../wire/key-rows.ts";
import {
  type BadInputGateway,
  canary,
  expectRefused,
  type MadeKey,
  startBadInputGateway,
  toldBy,
} from "./bad-input-gateway.ts";

/** The catalogue of bad input against the whole gateway: keys, tenants and administration. */

let gateway: BadInputGateway;
/** May call weir-sim only, in a project of its own. */
let limited: MadeKey;
const made = new Map<string, string>();

beforeAll(async () => {
  gateway = await startBadInputGateway(
    ({ httpUrl }) => `pools:
  - { id: sim, engine_key: ${canary}, replicas: [{ url: "${httpUrl}" }] }
  - { id: dead, replicas: [{ url: "http://127.0.0.1:9", dialect: openai }] }
models:
  - { id: weir-sim, pool: sim }
  - { id: premium, pool: sim }
  - { id: weir-large, pool: sim, engine_model: premium }
  - { id: "off", pool: sim, engine_model: premium, disabled: true }
  - { id: fragile, pool: dead, fallbacks: [premium] }
aliases: [{ id: best, model: premium }]
`,
  );
  const project = await gateway.rpc("weir.auth.v1.TenantService/CreateProject", {
    requestId: "two",
    projectId: "two",
    name: "two",
  });
  expect([project.status, await project.text()]).toMatchObject([200, expect.stringContaining("two")]);
  limited = await gateway.createKey({ projectId: "two", models: { names: ["weir-sim", "fragile"] } });
  const hour = 3_600_000;
  const expired = await gateway.createKey({ expireTime: new Date(Date.now() + 1_000).toISOString() });
  const early = await gateway.createKey({ startTime: new Date(Date.now() + hour).toISOString() });
  const revoked = await gateway.createKey();
  await gateway.rpc("weir.auth.v1.KeyService/RevokeKey", { keyId: revoked.id });
  made.set("weir_expired", expired.secret).set("weir_revoked", revoked.secret).set("early", early.secret);
});
afterAll(() => gateway?.[Symbol.asyncDispose]());

const inSeconds = (n: number) => new Promise((resolve) => setTimeout(resolve, n * 1_000));
const forged = (n: number) => formatKey(n.toString(36).padStart(12, "0"), "x".repeat(30));
const withHost = (line: string) => `GET /v1/models HTTP/1.1\r\nHost: a\r\n${line}\r\n\r\n`;

describe("A1 A4 A7 keys that are none, or not where they belong", () => {
  const rows = keyRows.filter(({ name }) => name !== "a key that cannot be checked");
  test.each(rows)("$name", async (row) => {
    if (row.key === "weir_expired") await inSeconds(1);
    const known = row.key === undefined || row.key === null ? row.key : (made.get(row.key) ?? row.key);
    await expectRefused(gateway, { ...row, ...(known === undefined ? {} : { key: known }) });
  });

  test("A4 a key before its time", () =>
    expectRefused(gateway, {
      name: "",
      key: made.get("early") ?? "",
      body: chat('"x"'),
      status: 401,
      code: "key_not_yet_valid",
    }));

  test("A4 a key that worked is refused within 2 s of its revocation", async () => {
    const { id, secret } = await gateway.createKey();
    expect((await send(gateway.url, { key: secret, body: chat('"x"') })).status).toBe(200);
    await gateway.rpc("weir.auth.v1.KeyService/RevokeKey", { keyId: id });
    const status = async () => (await send(gateway.url, { key: secret, body: chat('"x"') })).status;
    await expect.poll(status, { timeout: 2_000, interval: 50 }).toBe(401);
  });

  test.each(["/v1/chat/completions", "/v1/embeddings"])(
    "A4 a key that is revoked while the body of %s arrives is refused",
    async (path) => {
      const { id, secret } = await gateway.createKey();
      const asked = gateway.received();
      const headers = { authorization: `Bearer ${secret}`, "content-type": "application/json" };
      const slow = request(gateway.url + path, { method: "POST", headers });
      const answer = new Promise<IncomingMessage>((resolve, reject) => {
        slow.once("response", resolve).once("error", reject);
      });
      slow.write('{"model":"weir-sim","input":"x","messages":[{"role":"user",');
      const status = async () => (await send(gateway.url, { key: secret, path: "/v1/models", method: "GET" })).status;
      expect(await status()).toBe(200);
      await gateway.rpc("weir.auth.v1.KeyService/RevokeKey", { keyId: id });
      await expect.poll(status, { timeout: 2_000, interval: 50 }).toBe(401);
      slow.end('"content":"x"}]}');
      const response = await answer;
      expect([response.statusCode, await text(response)]).toEqual([401, expect.stringContaining("key_revoked")]);
      expect(gateway.received()).toBe(asked);
    },
  );

  test.each([
    ["a bad checksum", () => `${gateway.key.slice(0, -1)}${gateway.key.endsWith("0") ? "1" : "0"}`],
    ["another prefix", () => gateway.key.replace("weir_", "sk-a_")],
    ["10 KB", () => "weir_".padEnd(10_240, "a")],
    ["a SQL condition", () => "'OR(1=1)--"],
    ["a SQL condition with spaces", () => "' OR 1=1--"],
    ["an escaped NUL", () => "\\x00"],
    ["a pattern", () => "%"],
    ["a parameter", () => "$1"],
    ["what a store may hold of a key", () => "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
  ])("A2 A3 A5 %s is refused, and the store is not asked", async (_name, key) => {
    const before = await gateway.lookUps();
    const row: Row = { name: "", key: key(), body: chat('"x"'), status: 401, code: "invalid_api_key" };
    await expectRefused(gateway, row);
    const rpc = await toldBy(await gateway.rpc("weir.auth.v1.KeyService/ListKeys", {}, { key: key() }));
    expect(rpc).toMatchObject({ status: 401, code: "unauthenticated", reason: "CREDENTIAL_INVALID" });
    expect(await gateway.lookUps()).toBe(before);
  });

  test.each([
    ["a NUL", "Authorization: Bearer weir_\0", "bad_framing"],
    ["a homoglyph", "Authorization: Bearer we\xd1\x96r_", "bad_header"],
  ])("A2 a key with %s is no header", async (_name, line, code) => {
    const [answer] = (await rawHttp(gateway.port, withHost(line))).answers;
    expectError(answer?.status ?? 0, answer?.headers ?? new Map(), answer?.body ?? "{}", { status: 400, code });
  });

  test.each<[string, Record<string, string>, string, number]>([
    ["x-api-key", { "x-api-key": "KEY" }, "", 200],
    ["api-key", { "api-key": "KEY" }, "", 200],
    ["a lower-case scheme", { authorization: "bearer KEY" }, "", 200],
    ["a cookie", { cookie: "api_key=KEY" }, "", 401],
    ["the query", {}, "?api_key=KEY", 401],
    ["a header and the query", { authorization: "Bearer KEY" }, "?x-api-key=KEY", 400],
    ["two headers", { authorization: "Bearer KEY", "api-key": "KEY" }, "", 400],
  ])("A7 by %s, a key is one on every door", async (_name, headers, query, status) => {
    const put = (text: string) => text.replace("KEY", gateway.key);
    const given = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, put(value)]));
    const paths = ["/v1/chat/completions", "/weir.auth.v1.KeyService/ListKeys"];
    const statuses = paths.map(async (path) => {
      const body = path.startsWith("/v1") ? chat('"x"', ',"max_tokens":1') : "{}";
      return (await send(gateway.url, { key: null, headers: given, path: path + put(query), body })).status;
    });
    expect(await Promise.all(statuses)).toEqual([status, status]);
  });
});

describe("A8 C2 models that a key may not call", () => {
  const refusal = (key: string, model: string): Row => ({
    name: "",
    key,
    body: { model, messages: [{ role: "user", content: canary }] },
    status: 404,
    code: "model_not_found",
  });

  test("unknown, forbidden and disabled are told in the same words", async () => {
    const texts: string[] = [];
    for (const model of ["nobody", "premium", "off", "best", "weir-large"]) {
      const told = await expectRefused(gateway, refusal(limited.secret, model));
      texts.push(told.replaceAll(model, "MODEL"));
      const response = await send(gateway.url, { key: limited.secret, path: `/v1/models/${model}`, method: "GET" });
      expect([response.status, (await response.text()).replaceAll(model, "MODEL")]).toEqual([404, texts[0]]);
    }
    expect(new Set(texts).size).toBe(1);
    expect(texts[0]).toContain("GET /v1/models lists those");
  });

  test("the same on the RPC door", async () => {
    const client = createClient(InferenceService, createConnectTransport({ baseUrl: gateway.url, httpVersion: "1.1" }));
    const headers = { authorization: `Bearer ${limited.secret}` };
    for (const model of ["nobody", "premium", "off", "best"]) {
      const stream = client.generate({ model, input: { case: "prompt", value: "p" } }, { headers });
      await expect(stream[Symbol.asyncIterator]().next()).rejects.toThrow(`\`${model}\` does not exist or you do not`);
    }
  });

  test("a disabled model is nobody's", () => expectRefused(gateway, refusal(gateway.key, "off")));

  test("a pattern allows what it matches and nothing else", async () => {
    const { secret } = await gateway.createKey({ models: { names: ["weir-*"] } });
    for (const model of ["weir-sim", "weir-large"]) {
      const response = await send(gateway.url, {
        key: secret,
        body: { ...(refusal("", model).body as object), max_tokens: 1 },
      });
      expect(response.status).toBe(200);
    }
    for (const model of ["premium", "best", "fragile"]) await expectRefused(gateway, refusal(secret, model));
  });

  test("a fallback is asked only for those who may call it", async () => {
    const asked = gateway.received();
    const body = { model: "fragile", messages: [{ role: "user", content: "hi" }], max_tokens: 1 };
    const refused = await send(gateway.url, { key: limited.secret, body });
    const told = { status: 503, code: "no_replica", type: "server_error" };
    expectError(refused.status, refused.headers, await refused.text(), told);
    expect(gateway.received()).toBe(asked);
    expect((await send(gateway.url, { key: gateway.key, body })).status).toBe(200);
    expect(gateway.received()).toBe(asked + 1);
  });
});

describe("A9 A11 A12 A13 what a tenant may not do", () => {
  const user = async () => (await gateway.createKey({ permissions: ["models.invoke", "models.read"] })).secret;

  test.each([
    ["weir.auth.v1.KeyService/CreateKey", { requestId: "a", name: "a" }],
    ["weir.auth.v1.KeyService/ListKeys", {}],
    ["weir.auth.v1.KeyService/GetKey", { keyId: "a" }],
    ["weir.auth.v1.KeyService/RevokeKey", { keyId: "a" }],
    ["weir.auth.v1.KeyService/UpdateKey", { keyId: "a", updateMask: "name", name: "b" }],
    ["weir.auth.v1.TenantService/CreateOrg", { requestId: "a", orgId: "evil", name: "a" }],
    ["weir.auth.v1.TenantService/CreateProject", { requestId: "a", projectId: "evil", name: "a" }],
    ["weir.auth.v1.TenantService/ListProjects", {}],
    ["weir.catalog.v1.PoolService/ListPools", {}],
    ["weir.catalog.v1.PoolService/ListReplicas", { poolId: "sim" }],
  ])("A9 %s with a user's key", async (method, body) => {
    const told = await toldBy(await gateway.rpc(method, body, { key: await user() }));
    expect(told).toMatchObject({ status: 403, code: "permission_denied", reason: "PERMISSION_DENIED" });
    expect(told.message).toContain("lacks the permission");
  });

  test.each([
    ["more permissions", { permissions: ["*"] }],
    ["a wider reach", { reach: "REACH_INSTALLATION" }],
    ["more models", { models: { all: true } }],
  ])("A9 a key with %s than its maker's", async (_name, members) => {
    const permissions = ["keys.write", "models.invoke"];
    const maker = await gateway.createKey({ permissions, models: { names: ["weir-sim"] } });
    const body = { requestId: "wider", name: "wider", permissions: ["models.invoke"], ...members };
    const response = await gateway.rpc("weir.auth.v1.KeyService/CreateKey", body, { key: maker.secret });
    expect(await toldBy(response)).toMatchObject({ status: 403, reason: "GRANT_EXCEEDS_GRANTOR" });
  });

  test("A11 a tenant in headers and body counts for nothing", async () => {
    const response = await send(gateway.url, {
      key: limited.secret,
      headers: { "x-tenant-id": "default", "openai-organization": "default", "openai-project": "default" },
      body: chat('"x"', ',"user":"root","tenant_id":"default","max_tokens":1'),
    });
    const id = response.headers.get("x-request-id") ?? "none";
    expect(response.status).toBe(200);
    const line = () =>
      gateway.weir
        .log()
        .split("\n")
        .find((one) => one.includes(id) && one.includes('"generation"'));
    await expect.poll(line, { timeout: 2_000 }).toContain('"project_id":"two"');
  });

  test("A11 another's project, named in a call, is not there", async () => {
    const maker = await gateway.createKey({ permissions: ["keys.read", "keys.write"], reach: "REACH_PROJECT" });
    for (const method of ["ListKeys", "CreateKey"]) {
      const body = { projectId: "two", ...(method === "CreateKey" ? { requestId: "x", name: "x" } : {}) };
      const told = await toldBy(await gateway.rpc(`weir.auth.v1.KeyService/${method}`, body, { key: maker.secret }));
      expect(told).toMatchObject({ status: 404, code: "not_found", reason: "NOT_FOUND" });
    }
  });

  test.each(["role", "limit", "tenant_id", "tenantId", "is_admin", "orgId", "__proto__", "key"])(
    "A12 a key with the member %s",
    async (member) => {
      const body = `{"requestId":"mass","name":"mass",${JSON.stringify(member)}:"admin"}`;
      const told = await toldBy(await gateway.rpc("weir.auth.v1.KeyService/CreateKey", body));
      expect(told).toMatchObject({ status: 400, code: "invalid_argument" });
      expect(told.message).toContain(member);
    },
  );

  test.each(["-1", "501", "1e308", '"∞"', "1.5", '"ten"', "true"])("A13 a limit of %s", async (limit) => {
    const told = await toldBy(await gateway.rpc("weir.auth.v1.KeyService/ListKeys", `{"pageSize":${limit}}`));
    expect(told).toMatchObject({ status: 400, code: "invalid_argument" });
  });
});

describe("A14 a flood of keys that are none", () => {
  const from = (address: string) => ({ "x-forwarded-for": address });

  test("is answered 429 to its address, without a look-up, and nobody else feels it", async () => {
    const flood = async (first: number, count: number) => {
      const statuses = new Map<number, number>();
      const one = async (n: number) => {
        const row = { key: forged(n), headers: from("198.51.100.7"), path: "/v1/models", method: "GET" };
        const response = await send(gateway.url, row);
        if (response.status === 429) expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
        statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
        await response.text();
      };
      for (let n = first; n < first + count; n += 50) {
        await Promise.all(Array.from({ length: 50 }, (_, i) => one(n + i)));
      }
      return statuses;
    };
    const before = await flood(0, 900);
    expect(new Set(before.keys())).toEqual(new Set([401, 429]));
    const lookUps = await gateway.lookUps();
    const after = await flood(10_000, 600);
    expect(after.get(429)).toBeGreaterThan(500);
    // Ten a second are let through again.
    expect((await gateway.lookUps()) - lookUps).toBe(after.get(401) ?? 0);
    const ask = (key: string, address: string) =>
      send(gateway.url, { key, headers: from(address), body: chat('"x"', ',"max_tokens":1') });
    expect((await ask(limited.secret, "198.51.100.7")).status).toBe(200);
    const unseen = await gateway.createKey();
    expect((await ask(unseen.secret, "198.51.100.8")).status).toBe(200);
    const row: Row = {
      name: "",
      key: forged(1),
      headers: from("198.51.100.8"),
      body: "{}",
      status: 401,
      code: "invalid_api_key",
    };
    await expectRefused(gateway, row);
  });
});

describe("A19 text that would write lines of its own", () => {
  const nasty = 'x\r\n{"level":"error"}\u001b[31m\u0007';

  test.each([
    ["an escape sequence", "User-Agent: a\u001b[31mb", 400, "bad_framing"],
    ["a bare line feed", 'User-Agent: a\n{"level":"error"}', 400, "bad_framing"],
    ["a bare carriage return", 'User-Agent: a\r{"level":"error"}', 400, "bad_framing"],
  ])("as a user agent with %s is no header", async (_name, line, status, code) => {
    const [answer] = (await rawHttp(gateway.port, withHost(line))).answers;
    expectError(answer?.status ?? 0, answer?.headers ?? new Map(), answer?.body ?? "{}", { status, code });
  });

  test("as a key's name is kept and stays out of the log", async () => {
    const { id } = await gateway.createKey({ name: nasty, labels: { team: nasty } });
    const response = await gateway.rpc("weir.auth.v1.KeyService/GetKey", { keyId: id });
    expect(JSON.parse(await response.text()).key.name).toBe(nasty);
  });

  test("as a model is refused on every door", async () => {
    const body = { model: nasty, messages: [{ role: "user", content: "hi" }] };
    await expectRefused(gateway, { name: "", body, status: 400, code: "invalid_value", param: "model" });
    const path = `/v1/models/${encodeURIComponent(nasty)}`;
    await expectRefused(gateway, { name: "", path, method: "GET", status: 404, code: "model_not_found" });
    const client = createClient(InferenceService, createConnectTransport({ baseUrl: gateway.url, httpVersion: "1.1" }));
    const headers = { authorization: `Bearer ${gateway.key}` };
    const stream = client.generate({ model: nasty, input: { case: "prompt", value: "p" } }, { headers });
    await expect(stream[Symbol.asyncIterator]().next()).rejects.toThrow(/invalid_argument/);
  });
});

describe("A21 K7 what an operator sees", () => {
  test.each(["/livez", "/readyz", "/metrics", "/healthz", "/debug/pprof/", "/admin", "/config", "/v1/metrics"])(
    "A21 %s is not on the public port",
    async (path) => {
      await expectRefused(gateway, { name: "", path, method: "GET", status: 404, code: "unknown_url" });
    },
  );

  test("K7 a secret in the file is warned of, with its line, and not repeated", () => {
    expect(gateway.weir.log()).toMatch(/^warning: .*weir\.yaml:10: pools\[0\]\.engine_key: /m);
    expect(gateway.weir.log() + gateway.weir.banner).not.toContain(canary);
  });
});
