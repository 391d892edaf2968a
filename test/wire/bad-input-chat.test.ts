import { createHash } from "node:crypto";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { type EdgeServer, keys, startEdge } from "../fakes/edge-server.ts";
import { rawHttp } from "../fakes/raw-http.ts";
import { obliging } from "../fakes/scripted-model.ts";
import { chatRows } from "./chat-rows.ts";
import { completionRows } from "./completion-rows.ts";
import { expectAlive, expectRefused, send } from "./edge-row.ts";
import { httpRows } from "./http-rows.ts";
import { keyRows } from "./key-rows.ts";

let edge: EdgeServer;
beforeAll(async () => {
  edge = await startEdge({ http: { bodyBytesMax: 1_000_000 } });
});
afterEach(() => {
  edge.script = obliging;
});
afterAll(async () => {
  await expectAlive(edge);
  await edge[Symbol.asyncDispose]();
});

const least = { model: "weir-sim", messages: [{ role: "user", content: "hi" }] };
const text = JSON.stringify(least);
const encoded = (encoding: string) => ({ "content-encoding": encoding });

test.each(chatRows)("$name", (row) => expectRefused(edge, row));
test.each(completionRows)("$name", (row) => expectRefused(edge, row));
test.each(keyRows)("$name", (row) => expectRefused(edge, row));
test.each(httpRows)("$name", (row) => expectRefused(edge, row));

test("names of rows are their own", () => {
  const names = [...chatRows, ...completionRows, ...keyRows, ...httpRows].map(({ name, path }) => `${path} ${name}`);
  expect(new Set(names).size).toBe(names.length);
});

test.each([
  "/v1/chat/completions/",
  "/v1//chat/completions",
  "/V1/chat/completions",
  "/v1/%63hat/completions",
  "/v1/models/",
  "/v1/models/%zz",
  "/",
])("H20 %s is none of the edge's paths", async (path) => {
  const calls = edge.calls.length;
  expect((await send(edge.url, { path, body: least })).status).toBe(404);
  expect(edge.calls.length).toBe(calls);
});

test.each<[string, Parameters<typeof send>[1]]>([
  ["A1 a scheme in lower case", { key: null, headers: { authorization: `bearer ${keys.good}` } }],
  ["A7 x-api-key", { key: null, headers: { "x-api-key": keys.good } }],
  ["A7 api-key", { key: null, headers: { "api-key": keys.good } }],
  ["a key that is looked up", { key: keys.cold }],
  ["a query without a key", { path: "/v1/chat/completions?api-version=2024-02-01" }],
  ["H31 no content type", { headers: { "content-type": "" } }],
  ["H31 UTF-8 by name", { headers: { "content-type": 'application/json; charset="UTF-8"' } }],
  ["H30 gzip", { body: gzipSync(text), headers: encoded("gzip") }],
  ["H30 deflate", { body: deflateSync(text), headers: encoded("deflate") }],
  ["H30 br", { body: brotliCompressSync(text), headers: encoded("br") }],
  ["C12 null", { body: { ...least, temperature: null, stream: null, tools: null } }],
  [
    "A11 a tenant in the headers and the body",
    {
      body: { ...least, user: "other", tenant_id: "o2" },
      headers: { "x-tenant-id": "o2", "openai-organization": "o2", "openai-project": "p2" },
    },
  ],
])("%s is taken", async (_name, request) => {
  const response = await send(edge.url, { body: text, ...request });
  expect([response.status, await response.text()]).toMatchObject([200, expect.stringContaining("Paris")]);
  expect(edge.calls.at(-1)?.options.principal?.projectId).toBe("p1");
});

test("A1 a refusal for the key says which scheme is spoken", async () => {
  const response = await send(edge.url, { body: least, key: null });
  expect(response.headers.get("www-authenticate")).toBe('Bearer realm="weir"');
});

test("H21 a refusal for the method says which are allowed", async () => {
  expect((await send(edge.url, { method: "PUT" })).headers.get("allow")).toBe("POST");
  expect((await send(edge.url, { path: "/v1/models", body: least })).headers.get("allow")).toBe("GET, HEAD");
});

test("H21 HEAD has the headers of GET and no body", async () => {
  const response = await send(edge.url, { path: "/v1/models", method: "HEAD" });
  expect([response.status, await response.text()]).toEqual([200, ""]);
  expect(Number(response.headers.get("content-length"))).toBeGreaterThan(100);
});

test.each([
  ["with its length", `content-length: 50000000`, "y".repeat(3_000_000)],
  [
    "in chunks",
    "transfer-encoding: chunked",
    Array.from({ length: 30 }, () => `186a0\r\n${"y".repeat(100_000)}\r\n`).join(""),
  ],
])("H32 a body that is too long, %s, is answered while it comes, and read no further", async (_name, header, body) => {
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${keys.good}\r\n${header}\r\n\r\n`;
  const { answers, closed, elapsedMs } = await rawHttp(edge.port, head + body);
  expect(answers).toMatchObject([{ status: 413 }]);
  expect(answers[0]?.headers.get("connection")).toBe("close");
  expect(closed).toBe(true);
  expect(elapsedMs).toBeLessThan(3_000);
});

test.each([
  ["a safe one", "x-client-request-id", "run-7.a:b_c", "run-7.a:b_c"],
  ["the other header", "x-request-id", "abc", "abc"],
  ["10 KB", "x-request-id", "x".repeat(10_000), null],
  ["characters that are not safe", "x-request-id", "a;b<c>", null],
])("C39 the caller's id of a request: %s", async (_name, header, given, echoed) => {
  const response = await send(edge.url, { body: least, headers: { [header]: given } });
  expect(response.headers.get("x-client-request-id")).toBe(echoed);
  expect(response.headers.get("x-request-id")).not.toBe(given);
  expect(edge.calls.at(-1)?.options.requestId).toBe(response.headers.get("x-request-id"));
});

test.each<[string, Record<string, string>, boolean, number | undefined]>([
  ["none", {}, false, undefined],
  ["stated", { "x-weir-timeout-ms": "1500" }, false, 1_500],
  ["stated, of a stream", { "x-weir-timeout-ms": "1500" }, true, 1_500],
  ["beyond the longest", { "x-weir-timeout-ms": "1000000000000" }, false, 3_600_000],
  ["a client's own patience", { "x-stainless-timeout": "600" }, false, 600_000],
  ["a client's own patience, which a stream does not need", { "x-stainless-timeout": "600" }, true, undefined],
  ["a client's own patience that is none", { "x-stainless-timeout": "abc" }, false, undefined],
])("C41 a deadline: %s", async (_name, headers, stream, expected) => {
  await (await send(edge.url, { body: { ...least, stream }, headers })).text();
  const timeoutMs = edge.calls.at(-1)?.options.timeoutMs;
  // What passed until the call was made is taken off.
  expect(timeoutMs === undefined ? undefined : Math.ceil(timeoutMs / 500) * 500).toBe(expected);
});

test.each<[string, object, Record<string, string>, string]>([
  ["prompt_cache_key", { prompt_cache_key: "k" }, { "x-session-id": "s" }, "k"],
  ["x-session-affinity", {}, { "x-session-affinity": "a", "x-session-id": "s" }, "a"],
  ["x-session-id", {}, { "x-session-id": "s", "session-id": "t" }, "s"],
  ["session-id", { session_id: "u" }, { "session-id": "t" }, "t"],
  ["session_id", { session_id: "u" }, {}, "u"],
  ["metadata.user_id", { metadata: { user_id: "m" } }, {}, "m"],
  ["300 characters", {}, { "x-session-id": "s".repeat(300) }, "s".repeat(256)],
  ["none", {}, {}, ""],
])("a session is kept together by %s", async (_name, members, headers, hint) => {
  await send(edge.url, { body: { ...least, ...members }, headers });
  expect(edge.calls.at(-1)?.request.affinityHint).toBe(hint);
});

test("what had no effect is named, as far as a header can", async () => {
  edge.script = ({ sink }) => sink.fail(fail(ErrorReason.QUEUE_FULL, {}));
  const content = [{ type: "text", text: "x", cache_control: {}, "\u0430\r\n": 1 }];
  const messages = [{ role: "user", content }];
  const response = await send(edge.url, { body: { ...least, store: true, user: "u", messages } });
  expect(response.headers.get("x-weir-ignored")?.split(", ").sort()).toEqual([
    "messages[].content[].*",
    "messages[].content[].cache_control",
    "store",
    "user",
  ]);
});

/** What official clients do next is told by headers. */
test.each<[keyof typeof ErrorReason, number | undefined, number, Record<string, string | null>]>([
  ["QUEUE_FULL", 2_500, 503, { "retry-after": "3", "retry-after-ms": "2500", "x-should-retry": null }],
  ["QUEUE_FULL", undefined, 503, { "retry-after": "1", "retry-after-ms": "1000", "x-should-retry": null }],
  ["RATE_LIMITED", 40, 429, { "retry-after": "1", "retry-after-ms": "40", "x-should-retry": null }],
  ["BUDGET_EXHAUSTED", undefined, 429, { "retry-after": null, "retry-after-ms": null, "x-should-retry": "false" }],
  ["ENGINE_CREDENTIAL", undefined, 502, { "retry-after": null, "x-should-retry": "false" }],
  ["ENGINE_UNAVAILABLE", undefined, 502, { "retry-after": null, "x-should-retry": null }],
  ["ENGINE_OVERLOADED", undefined, 503, { "retry-after": "1", "x-should-retry": null }],
  ["MODEL_NOT_FOUND", undefined, 404, { "retry-after": null, "x-should-retry": null }],
])("%s (after %s ms) is answered %i", async (name, retryAfterMs, status, headers) => {
  edge.script = ({ sink }) =>
    sink.fail(fail(ErrorReason[name], {}, retryAfterMs === undefined ? {} : { retryAfterMs }));
  const response = await send(edge.url, { body: least });
  expect(response.status).toBe(status);
  for (const [header, value] of Object.entries(headers))
    expect([header, response.headers.get(header)]).toEqual([header, value]);
});

test("a defect is told with an id, and its cause stays in the log", async () => {
  const canary = createHash("sha256").update("canary").digest("hex");
  edge.script = () => {
    throw new Error(`password=${canary}`);
  };
  const response = await send(edge.url, { body: least });
  const told = await response.text();
  expect(response.status).toBe(500);
  expect(told).toContain(response.headers.get("x-request-id"));
  expect(told).not.toContain(canary);
  expect(edge.logged.join("")).toContain(canary);
});

test("no prompt was logged", () => {
  expect(edge.logged.filter((line) => !line.includes("password="))).toEqual([]);
});
