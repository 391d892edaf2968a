import { connect } from "node:http2";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { defaults } from "../../services/runtime/config/defaults.ts";
import type { HttpApp } from "../../services/runtime/server/app.ts";
import { type Listener, openPublicServer } from "../../services/runtime/server/public.ts";
import { endHeaders, endStream, frame, frameType, literals, rawHttp2 } from "../fakes/raw-http2.ts";

let server: Listener;
let handled = 0;

const app: HttpApp = {
  handle(request, response) {
    handled++;
    request.resume();
    response.on("error", () => undefined);
    request.on("error", () => undefined);
    request.on("end", () => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end("{}");
    });
    return true;
  },
};

beforeAll(async () => {
  server = await openPublicServer({
    host: "127.0.0.1",
    port: 0,
    http: { ...defaults.http, trustedProxies: [] },
    clock: systemClock,
    apps: [app],
    rpc: (_request, response) => void response.end(),
    onRefused: () => undefined,
  });
});
afterAll(() => server[Symbol.asyncDispose]());

/** Lets one header be sent twice. */
const lenient = { protocol: "http:", strictSingleValueFields: false } as const;

/** An ordinary request on a session of its own: whether the server still serves others. */
function get(headers: Record<string, string | string[]> = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const session = connect(`http://127.0.0.1:${server.port}`, lenient);
    session.on("error", reject);
    const stream = session.request({ ":path": "/v1/models", ...headers });
    stream.on("error", reject);
    stream.on("response", (answer) => resolve(Number(answer[":status"])));
    stream.on("close", () => session.close());
    stream.resume();
  });
}

const plain: readonly (readonly [string, string])[] = [
  [":method", "GET"],
  [":scheme", "http"],
  [":authority", "a"],
  [":path", "/v1/models"],
];
const request = (stream: number, headers = plain, flags = endStream | endHeaders) =>
  frame(frameType.headers, flags, stream, literals(headers));

function* times(count: number, make: (index: number) => Buffer): Generator<Buffer> {
  for (let i = 0; i < count; i++) yield make(i);
}

describe("HTTP/2 floods end their own connection and nobody else's", () => {
  const rows: readonly (readonly [string, () => Iterable<Buffer>])[] = [
    [
      "H35 20,000 requests that are reset at once",
      () =>
        times(20_000, (i) =>
          Buffer.concat([request(2 * i + 1), frame(frameType.rstStream, 0, 2 * i + 1, Buffer.from([0, 0, 0, 8]))]),
        ),
    ],
    [
      "H35 10,000 continuations without an end",
      () => [
        request(1, plain, endStream),
        ...times(10_000, () => frame(frameType.continuation, 0, 1, literals([["x", "y".repeat(100)]]))),
      ],
    ],
    [
      "H35 settings without end",
      () => times(200_000, () => frame(frameType.settings, 0, 0, Buffer.from([0, 4, 0, 0, 255, 255]))),
    ],
    [
      "H35 window overflows that make the server reset",
      () =>
        times(20_000, (i) =>
          Buffer.concat([
            request(2 * i + 1, plain, endHeaders),
            frame(frameType.windowUpdate, 0, 2 * i + 1, Buffer.from([0x7f, 0xff, 0xff, 0xff])),
          ]),
        ),
    ],
  ];
  it.each(rows)("%s", async (_row, frames) => {
    const before = process.memoryUsage().rss;
    const exchange = await rawHttp2(server.port, frames(), 15_000);
    expect(exchange.closed).toBe(true);
    expect(await get()).toBe(200);
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1_048_576);
  });

  it("H35 pings without end take no memory", async () => {
    const before = process.memoryUsage().rss;
    await rawHttp2(
      server.port,
      times(200_000, () => frame(frameType.ping, 0, 0, Buffer.alloc(8))),
      3_000,
    );
    expect(await get()).toBe(200);
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1_048_576);
  });
});

describe("a malformed HTTP/2 request reaches no handler", () => {
  const rows: readonly (readonly [string, Buffer])[] = [
    ["H36 a pseudo-header twice", request(1, [...plain, [":path", "/v1/chat"]])],
    ["H36 a header in upper case", request(1, [...plain, ["X-Upper", "y"]])],
    ["H36 a connection header", request(1, [...plain, ["connection", "close"]])],
    ["H9 an authority with a user", request(1, [...plain.slice(0, 2), [":authority", "a@b"], ...plain.slice(3)])],
    ["H36 an empty path", request(1, [...plain.slice(0, 3), [":path", ""]])],
    [
      "H36 a body shorter than its length",
      Buffer.concat([
        request(1, [[":method", "POST"], ...plain.slice(1), ["content-length", "10"]], endHeaders),
        frame(frameType.data, endStream, 1, Buffer.from("{}")),
      ]),
    ],
  ];
  it.each(rows)("%s", async (row, bytes) => {
    const before = handled;
    const exchange = await rawHttp2(server.port, [bytes], 1_000);
    expect(exchange.resets.has(1) || exchange.goaway !== undefined).toBe(true);
    expect(exchange.answered.size).toBe(0);
    // A request is taken up at its headers; only a body's length can be found wrong after that.
    if (!row.includes("length")) expect(handled).toBe(before);
    expect(await get()).toBe(200);
  });

  it("H37 malformed header compression ends the connection", async () => {
    const exchange = await rawHttp2(server.port, [
      frame(frameType.headers, endStream | endHeaders, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
    ]);
    expect(exchange.goaway).toBe(9);
    expect(await get()).toBe(200);
  });

  it("H37 headers on a stream that is closed end the connection", async () => {
    const exchange = await rawHttp2(server.port, [request(1), request(3), request(1)]);
    expect(exchange.goaway).toBeDefined();
    expect(await get()).toBe(200);
  });

  it("H9 an authority that is no host is refused", async () => {
    expect(await get({ ":authority": "a%2fb" })).toBe(400);
  });

  const refused: readonly (readonly [string, Record<string, string | string[]>, number])[] = [
    ["H14 two keys", { authorization: ["Bearer a", "Bearer b"] }, 400],
    ["H17 twins with - and _", { x_request_id: "a", "x-request-id": "b" }, 400],
    ["H18 a byte beyond ASCII in a value", { x: "a\xe9b" }, 400],
    ["H19 an address of 15 kB", { ":path": `/${"a".repeat(15_000)}` }, 414],
  ];
  it.each(refused)("%s: is refused as over HTTP/1", async (_row, headers, status) => {
    const before = handled;
    expect(await get(headers)).toBe(status);
    expect(handled).toBe(before);
    expect(await get({ authorization: "Bearer a" })).toBe(200);
  });
});
