import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { defaults } from "../../services/runtime/config/defaults.ts";
import type { HttpApp } from "../../services/runtime/server/app.ts";
import { type Listener, openPublicServer } from "../../services/runtime/server/public.ts";
import { rawHttp } from "../fakes/raw-http.ts";

let server: Listener;
let handled = 0;
const refused: string[] = [];
const connectionsMax = 64;

/** Answers every request that passes the framing rules, after reading its body. */
const app: HttpApp = {
  handle(request, response) {
    handled++;
    request.resume();
    request.on("end", () => {
      const body = JSON.stringify({ path: request.url });
      response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
      response.end(body);
    });
    return true;
  },
};

beforeAll(async () => {
  server = await openPublicServer({
    host: "127.0.0.1",
    port: 0,
    http: {
      ...defaults.http,
      trustedProxies: [],
      headersTimeoutMs: 1_000,
      requestTimeoutMs: 2_000,
      connectionsPerAddressMax: connectionsMax,
    },
    clock: systemClock,
    apps: [app],
    rpc: (_request, response) => response.end(),
    onRefused: (why) => refused.push(why),
  });
});
afterAll(() => server[Symbol.asyncDispose]());

const get = "GET /v1/models HTTP/1.1\r\nHost: a\r\n";
const post = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n";

/** Rows of part H: what is sent, and the status and code of the answer. */
const rows: readonly (readonly [row: string, bytes: string, status: number, code: string])[] = [
  [
    "H1 length and chunked",
    `${post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
    "bad_framing",
  ],
  ["H2 an unknown transfer encoding", `${post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 400, "bad_framing"],
  ["H2 chunked, identity", `${post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`, 400, "bad_framing"],
  [
    "H2 transfer encoding twice",
    `${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
    "bad_framing",
  ],
  ["H3 a space before the colon", `${post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`, 400, "bad_framing"],
  ["H4 two equal lengths", `${post}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}`, 400, "bad_framing"],
  ["H4 two lengths", `${post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`, 400, "bad_framing"],
  ["H4 a list of lengths", `${post}Content-Length: 2, 2\r\n\r\n{}`, 400, "bad_framing"],
  ["H5 +1", `${post}Content-Length: +1\r\n\r\n{`, 400, "bad_framing"],
  ["H5 -1", `${post}Content-Length: -1\r\n\r\n`, 400, "bad_framing"],
  ["H5 0x1", `${post}Content-Length: 0x1\r\n\r\n{`, 400, "bad_framing"],
  ["H5 2^64", `${post}Content-Length: 18446744073709551616\r\n\r\n{`, 400, "bad_framing"],
  ["H6 bare line feeds", "GET /v1/models HTTP/1.1\nHost: a\n\n", 400, "bad_framing"],
  ["H6 a bare carriage return", `${get}X: a\rb\r\n\r\n`, 400, "bad_framing"],
  ["H6 a folded header", `${get}X: a\r\n b\r\n\r\n`, 400, "bad_framing"],
  ["H7 chunk size 0x1", `${post}Transfer-Encoding: chunked\r\n\r\n0x1\r\n{\r\n0\r\n\r\n`, 400, "bad_framing"],
  ["H7 17 hex digits", `${post}Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\n{\r\n`, 400, "bad_framing"],
  [
    "H7 a chunk that ends in a line feed",
    `${post}Transfer-Encoding: chunked\r\n\r\n1\n{\r\n0\r\n\r\n`,
    400,
    "bad_framing",
  ],
  [
    "H7 a 20 kB chunk extension",
    `${post}Transfer-Encoding: chunked\r\n\r\n1;a=${"x".repeat(20_000)}\r\n{\r\n0\r\n\r\n`,
    400,
    "bad_framing",
  ],
  ["H8 two hosts", `GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`, 400, "bad_framing"],
  ["H9 a host with a path", "GET / HTTP/1.1\r\nHost: a/public?x=\r\n\r\n", 400, "bad_host"],
  ["H9 a host with a user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, "bad_host"],
  ["H9 a host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_host"],
  ["H9 an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_host"],
  ["H10 an absolute target", "GET http://evil/v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"],
  ["H11 HTTP/0.9", "GET /\r\n\r\n", 505, "bad_version"],
  ["H11 HTTP/2.0 as text", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "bad_version"],
  ["H11 HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "bad_version"],
  [
    "H12 HTTP/1.0 with chunks",
    "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    400,
    "bad_framing",
  ],
  ["H13 no host", "GET / HTTP/1.1\r\n\r\n", 400, "bad_host"],
  ["H14 two keys", `${get}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n`, 400, "ambiguous_auth"],
  ["H15 3,000 headers", `${get}${"X: y\r\n".repeat(3_000)}\r\n`, 431, "headers_too_large"],
  [
    "H15 101 headers",
    `${get}${Array.from({ length: 100 }, (_, i) => `X${i}: y\r\n`).join("")}\r\n`,
    431,
    "headers_too_large",
  ],
  ["H15 one header of 17 kB", `${get}X: ${"y".repeat(17_000)}\r\n\r\n`, 431, "headers_too_large"],
  [
    "H15 100 kB of headers",
    `${get}${Array.from({ length: 10 }, (_, i) => `X${i}: ${"y".repeat(10_000)}\r\n`).join("")}\r\n`,
    431,
    "headers_too_large",
  ],
  ["H17 twins with - and _", `${get}x_request_id: a\r\nx-request-id: b\r\n\r\n`, 400, "ambiguous_header"],
  ["H18 NUL in a value", `${get}X: a\0b\r\n\r\n`, 400, "bad_framing"],
  ["H18 DEL in a value", `${get}X: a\x7fb\r\n\r\n`, 400, "bad_framing"],
  ["H18 a byte beyond ASCII in a value", `${get}X: a\xe9b\r\n\r\n`, 400, "bad_header"],
  ["H19 an address of 15 kB", `GET /${"a".repeat(15_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414, "uri_too_long"],
  ["H21 CONNECT", "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n", 405, "method_not_allowed"],
  ["H23 an expectation", `${post}Expect: junk\r\nContent-Length: 2\r\n\r\n{}`, 417, "expectation_failed"],
  ["H24 GET with a body", `${get}Content-Length: 2\r\n\r\n{}`, 400, "unexpected_body"],
];

describe("a request is refused for", () => {
  it.each(rows)("%s", async (_row, bytes, status, code) => {
    const before = handled;
    const { answers, closed, elapsedMs } = await rawHttp(server.port, bytes);
    expect(answers).toHaveLength(1);
    const [answer] = answers;
    expect(answer?.status).toBe(status);
    expect(answer?.headers.get("content-type")).toBe("application/json");
    expect(JSON.parse(answer?.body ?? "")).toEqual({
      error: { message: expect.any(String), type: "invalid_request_error", param: null, code },
    });
    expect(closed).toBe(true);
    expect(elapsedMs).toBeLessThan(1_000);
    // Node takes a request up at its headers; only the faults of a body can come after that.
    expect(handled - before).toBeLessThanOrEqual(/H7/.test(_row) ? 1 : 0);
  });
});

describe("a connection", () => {
  it("H16: headers named like members of an object change nothing", async () => {
    const { answers } = await rawHttp(server.port, `${get}__proto__: x\r\nconstructor: y\r\n\r\n`, { answers: 1 });
    expect(answers[0]?.status).toBe(200);
    expect(({} as { x?: string }).x).toBeUndefined();
  });

  it.each(["h2c", "websocket"])("H22: an upgrade to %s is ignored", async (protocol) => {
    const { answers } = await rawHttp(server.port, `${get}Upgrade: ${protocol}\r\nConnection: Upgrade\r\n\r\n`, {
      answers: 1,
    });
    expect(answers[0]?.status).toBe(200);
  });

  it("H26: headers that come too slowly get 408", async () => {
    const { answers, closed } = await rawHttp(server.port, `${get}X: `, { patienceMs: 5_000 });
    expect(answers[0]?.status).toBe(408);
    expect(closed).toBe(true);
  });

  it("H27, H33: a body that comes too slowly, or stops, gets 408", async () => {
    const { answers, closed } = await rawHttp(server.port, `${post}Content-Length: 100\r\n\r\n{"a":`, {
      patienceMs: 8_000,
    });
    expect(answers[0]?.status).toBe(408);
    expect(closed).toBe(true);
  });

  it("H33: a body that ends early gets 400", async () => {
    const { answers, closed } = await rawHttp(server.port, `${post}Content-Length: 100\r\n\r\n{"a":`, { end: true });
    expect(answers[0]?.status).toBe(400);
    expect(JSON.parse(answers[0]?.body ?? "").error.code).toBe("incomplete_body");
    expect(closed).toBe(true);
  });

  it("H34: what follows a good request on the wire is judged by itself, in order", async () => {
    const { answers, closed } = await rawHttp(
      server.port,
      `${get}\r\nGET / HTTP/1.1\r\nHost: a b\r\n\r\n${`${get}\r\n`.repeat(98)}`,
    );
    expect(answers.map((answer) => answer.status)).toEqual([200, 400]);
    expect(closed).toBe(true);
  });

  it("H34: a malformed request behind a good one is refused after the answer", async () => {
    const { answers, closed } = await rawHttp(server.port, `${get}\r\nnonsense\r\n\r\n`);
    expect(answers.map((answer) => answer.status)).toEqual([200, 400]);
    expect(closed).toBe(true);
  });

  it("is closed when it speaks TLS on the plain port", async () => {
    const { answers, closed } = await rawHttp(server.port, Buffer.from([0x16, 0x03, 0x01, 0x00, 0x05]));
    expect(answers).toEqual([]);
    expect(closed).toBe(true);
    expect(refused).toContain("tls");
  });

  it("H29: an address may hold only so many, and others are served", async () => {
    const sockets = Array.from({ length: connectionsMax + 40 }, () =>
      connect(server.port, "127.0.0.1").on("error", () => undefined),
    );
    await expect
      .poll(() => refused.filter((why) => why === "too_many").length, { timeout: 5_000 })
      .toBeGreaterThanOrEqual(40);
    for (const socket of sockets) socket.destroy();
    await expect
      .poll(async () => (await rawHttp(server.port, `${get}\r\n`, { answers: 1 })).answers[0]?.status, {
        timeout: 5_000,
      })
      .toBe(200);
  });
});
