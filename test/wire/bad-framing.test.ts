import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { defaults } from "../../services/runtime/config/defaults.ts";
import type { HttpApp } from "../../services/runtime/server/app.ts";
import { type Listener, openPublicServer } from "../../services/runtime/server/public.ts";
import { rawHttp } from "../fakes/raw-http.ts";
import { expectError } from "./edge-row.ts";
import { framingRows, get, post } from "./framing-rows.ts";

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

describe("a request is refused for", () => {
  it.each(framingRows)("%s", async (_row, bytes, status, code) => {
    const before = handled;
    const { answers, closed, elapsedMs } = await rawHttp(server.port, bytes);
    expect(answers).toHaveLength(1);
    const [answer] = answers;
    expectError(answer?.status ?? 0, answer?.headers ?? new Map(), answer?.body ?? "{}", { status, code });
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
