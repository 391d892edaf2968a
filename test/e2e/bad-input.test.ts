import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { rawHttp } from "../fakes/raw-http.ts";
import { chatRows } from "../wire/chat-rows.ts";
import { completionRows } from "../wire/completion-rows.ts";
import { expectError, type Row, send } from "../wire/edge-row.ts";
import { framingRows } from "../wire/framing-rows.ts";
import { httpRows } from "../wire/http-rows.ts";
import { bytes, chat, jsonRows } from "../wire/json-rows.ts";
import { type BadInputGateway, canary, expectRefused, startBadInputGateway } from "./bad-input-gateway.ts";

/** The catalogue of bad input against the whole gateway: HTTP, JSON and parameters. */

let gateway: BadInputGateway;
beforeAll(async () => {
  gateway = await startBadInputGateway();
});
afterAll(() => gateway?.[Symbol.asyncDispose]());

/** What is said in a row is made recognisable. */
function marked(row: Row): Row {
  const { body } = row;
  if (body === undefined || Buffer.isBuffer(body)) return row;
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return { ...row, body: text.replaceAll(/"(?:hi|x|p)"(?=[}\],])/g, `"${canary}"`) };
}

const steering = [
  "api_base",
  "api_key",
  "base_url",
  "chat_template",
  "extra_body",
  "kv_transfer_params",
  "lora_request",
  "mm_hashes",
  "priority",
  "prompt_embeds",
  "user_config",
];
const inside = (depth: number, name: string) =>
  `${'{"a":'.repeat(depth)}[{"${name}":"http://evil"}]${"}".repeat(depth)}`;

/** Members that would steer an engine: the router's own rows, through the door. */
const gatedRows: readonly Row[] = [
  ...steering.map(
    (name): Row => ({
      name: `C28 C31 C32 ${name}`,
      body: chat('"x"', `,"${name}":"{{ cycler.__init__ }}"`),
      status: 400,
      code: "unknown_parameter",
      param: name,
    }),
  ),
  ...[1, 2, 3, 4, 5].flatMap((depth) =>
    ["api_base", "base_url", "api_key"].map(
      (name): Row => ({
        name: `C32 ${name} at depth ${depth}`,
        body: chat('"x"', `,"vllm_xargs":${inside(depth, name)}`),
        status: 400,
        code: "unknown_parameter",
        param: `vllm_xargs${".a".repeat(depth)}[0].${name}`,
      }),
    ),
  ),
  {
    name: "C37 a suffix",
    path: "/v1/completions",
    body: { model: "weir-sim", prompt: "p", suffix: "s" },
    status: 400,
    code: "unsupported_parameter",
    param: "suffix",
  },
  {
    name: "C11 candidates",
    path: "/v1/completions",
    body: { model: "weir-sim", prompt: "p", best_of: 2 },
    status: 400,
    code: "unsupported_parameter",
    param: "best_of",
  },
];

describe("through the whole gateway, and no engine hears of it", () => {
  const rows = [...chatRows, ...completionRows, ...jsonRows, ...httpRows, ...gatedRows];
  test.each(rows.map(marked))("$name", async (row) => {
    await expectRefused(gateway, row);
  });
});

const postHead = (headers: string) =>
  `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${gateway.key}\r\n${headers}\r\n\r\n`;

describe("bytes that are no well-framed request", () => {
  const paths = [
    "/v1/%2e%2e/admin",
    "/v1/../metrics",
    "/v1//chat/completions",
    "/v1/chat/completions/..;/",
    "/v1/chat/completions%00",
    "/V1/chat/completions",
    "/v1/chat/completions/",
    "//v1/models",
  ];
  test.each([
    ...framingRows,
    ...paths.map((path) => [`H20 ${path}`, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`, 404, "unknown_url"] as const),
    ["H21 TRACE", "TRACE /v1/chat/completions HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"] as const,
  ])("%s", async (name, sent, status, code) => {
    // Only a caller who is known gets as far as the body.
    const known = `Host: a\r\nAuthorization: Bearer ${gateway.key}\r\n`;
    const bytesSent = name.startsWith("H7") ? sent.replace("Host: a\r\n", known) : sent;
    const { answers, elapsedMs } = await rawHttp(gateway.port, bytesSent, { answers: 1 });
    const [answer] = answers;
    expectError(answer?.status ?? 0, answer?.headers ?? new Map(), answer?.body ?? "{}", { status, code });
    expect(elapsedMs).toBeLessThan(1_000);
  });

  test.each(["PUT", "GET", "HEAD"])("H21 to %s it is said which methods are allowed", async (method) => {
    const response = await send(gateway.url, { key: gateway.key, method });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "POST"]);
  });

  test.concurrent.each<[string, string, number, string]>([
    ["H26 headers without end", "GET / HTTP/1.1\r\nHost: a\r\nX: ", 408, "request_timeout"],
    ["H33 a body that falls silent", "BODY 100", 408, "request_timeout"],
  ])("%s", async (_name, sent, status, code) => {
    const text = sent.startsWith("BODY") ? `${postHead("Content-Length: 100")}{"model":"` : sent;
    const { answers, closed } = await rawHttp(gateway.port, text, { patienceMs: 10_000 });
    const [answer] = answers;
    expectError(answer?.status ?? 0, answer?.headers ?? new Map(), answer?.body ?? "{}", { status, code });
    expect(closed).toBe(true);
  });

  test.concurrent("H27 a body that drips is cut at its time, however alive it looks", async () => {
    const drip = (async function* () {
      for (;;) {
        yield " ";
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    })();
    const { answers, closed, elapsedMs } = await rawHttp(gateway.port, postHead("Content-Length: 1000000"), {
      rest: drip,
      patienceMs: 10_000,
    });
    const [answer] = answers;
    const told = { status: 408, code: "request_timeout" };
    expectError(answer?.status ?? 0, answer?.headers ?? new Map(), answer?.body ?? "{}", told);
    expect(closed).toBe(true);
    expect(elapsedMs).toBeLessThan(6_000);
  });

  test("H33 a body that ends early", async () => {
    const sent = `${postHead("Content-Length: 100")}{"model":"`;
    const { answers, closed } = await rawHttp(gateway.port, sent, { end: true });
    const [answer] = answers;
    const told = { status: 400, code: "incomplete_body" };
    expectError(answer?.status ?? 0, answer?.headers ?? new Map(), answer?.body ?? "{}", told);
    expect(closed).toBe(true);
  });

  test("H30 5 GB in 5 MB of gzip", async () => {
    // Members that stand one behind the other unpack to one text.
    const member = gzipSync(Buffer.alloc(1_048_576, " "));
    const body = Buffer.concat(Array.from({ length: 5_000 }, () => member));
    const row: Row = {
      name: "",
      body,
      headers: { "content-encoding": "gzip" },
      status: 413,
      code: "request_too_large",
    };
    await expectRefused(gateway, row);
  });

  test("H32 chunks without end are read no further than the limit", async () => {
    const chunk = `186a0\r\n${"y".repeat(100_000)}\r\n`;
    const sent = postHead("Transfer-Encoding: chunked") + chunk.repeat(120);
    const { answers, closed } = await rawHttp(gateway.port, sent);
    const [answer] = answers;
    const told = { status: 413, code: "request_too_large" };
    expectError(answer?.status ?? 0, answer?.headers ?? new Map(), answer?.body ?? "{}", told);
    expect(closed).toBe(true);
  });
});

describe("what looks bad and is taken, as clients send it", () => {
  test.each<[string, Pick<Row, "body" | "headers" | "path">]>([
    ["H31 no content type", { headers: { "content-type": "" } }],
    ["J4 a byte order mark", { body: bytes(0xef, 0xbb, 0xbf, chat('"x"')) }],
    ["J7 a zero character", { body: chat('"a\\u0000b"') }],
    ["J11 names that prototypes have", { body: chat('"x"', ',"toString":1,"hasOwnProperty":2') }],
    ["J13 a seed of 64 bits", { body: chat('"x"', ',"seed":9007199254740993') }],
    ["J14 -0 and 1.0", { body: chat('"x"', ',"temperature":-0,"max_tokens":1.0') }],
    ["J18 a member that is not known", { body: chat('"x"', ',"something_new":[1]') }],
    ["C16 a stop that is a pattern", { body: chat('"x"', ',"stop":"(a+)+$"') }],
    ["C20 a seed of -2^63", { body: chat('"x"', ',"seed":-9223372036854775808') }],
    ["C41 a deadline beyond the longest", { headers: { "x-weir-timeout-ms": "1000000000000" } }],
  ])("%s", async (_name, request) => {
    const body = request.body ?? chat('"x"');
    const response = await send(gateway.url, { key: gateway.key, ...request, body });
    expect([response.status, await response.text()]).toMatchObject([200, expect.stringContaining("chat.completion")]);
  });

  test("J16 a string of 4 MB is held against the context, not against a limit of its own", async () => {
    const told = await expectRefused(gateway, {
      name: "",
      body: chat(`"${"x".repeat(4_000_000)}"`),
      status: 400,
      code: "context_length_exceeded",
      param: "messages",
    });
    expect(told).toContain("2048");
  });

  test("C41 a deadline that is too short ends the request, and tells why", async () => {
    const body = { model: "weir-sim", messages: [{ role: "user", content: "[[sim delay ms=5000]]" }] };
    const response = await send(gateway.url, { key: gateway.key, body, headers: { "x-weir-timeout-ms": "100" } });
    const told = { status: 504, code: "timeout", type: "server_error" };
    expectError(response.status, response.headers, await response.text(), told);
  });
});

describe("C39 the caller's id of a request", () => {
  test("of one that runs is no handle on it", async () => {
    const id = "11111111-1111-7111-8111-111111111111";
    const ask = () =>
      send(gateway.url, { key: gateway.key, body: chat('"x"', ',"max_tokens":5'), headers: { "x-request-id": id } });
    const responses = await Promise.all([ask(), ask()]);
    expect(responses.map(({ status }) => status)).toEqual([200, 200]);
    const own = responses.map(({ headers }) => headers.get("x-request-id"));
    expect(new Set([...own, id]).size).toBe(3);
    const engineIds = gateway.simulator.record().map((entry) => entry.id);
    expect(engineIds.filter((one) => one.includes(id))).toEqual([]);
    for (const one of own) expect(engineIds).toContain(`${one}-1`);
  });

  test.each([
    ["10 KB", `X-Request-Id: ${"a".repeat(10_240)}`, 404],
    ["with a line end, which begins another header", "X-Request-Id: a\r\nX-Injected: b", 404],
  ])("%s is not echoed", async (_name, header, status) => {
    const sent = `GET /v1/models/none HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${gateway.key}\r\n${header}\r\n\r\n`;
    const { answers } = await rawHttp(gateway.port, sent, { answers: 1 });
    expect(answers[0]?.status).toBe(status);
    expect([...(answers[0]?.headers.keys() ?? [])]).not.toContain("x-injected");
    expect(answers[0]?.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    expect(answers[0]?.headers.get("x-client-request-id") ?? "a").toBe("a");
  });
});
