import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import {
  createServer as createTlsServer,
  getCACertificates,
  Server as TlsServer,
  setDefaultCACertificates,
} from "node:tls";
import { afterAll, describe, expect, test } from "vitest";
import { Http1Client } from "../../services/drivers/http1/client.ts";
import type { BrokenBy, Exchange } from "../../services/drivers/http1/connection.ts";
import { bareRequest, headText, requestWithBody } from "../../services/drivers/http1/request.ts";
import { type Clock, systemClock } from "../../services/runtime/clock.ts";
import { selfSigned } from "../fakes/certificate.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

/** A server of bytes: what it was sent, connection by connection, and how it answers. */
interface ByteServer {
  readonly port: number;
  readonly sockets: Socket[];
  readonly heard: string[];
}

type Answer = (socket: Socket, heard: string, index: number) => void;

async function serve(answer: Answer, server: Server = createServer({ noDelay: true }), host = "127.0.0.1") {
  const sockets: Socket[] = [];
  const heard: string[] = [];
  const onSocket = (socket: Socket) => {
    const index = sockets.push(socket) - 1;
    heard.push("");
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      heard[index] += data.toString("latin1");
      answer(socket, heard[index] ?? "", index);
    });
  };
  server.on(server instanceof TlsServer ? "secureConnection" : "connection", onSocket);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  cleanup.defer(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return { port, sockets, heard } satisfies ByteServer;
}

/** What became of a request. */
class Result implements Exchange {
  status = 0;
  body = "";
  broken: BrokenBy | undefined;
  ends = 0;
  readonly done: Promise<void>;
  #settle: () => void = () => undefined;

  constructor() {
    this.done = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  onHead(head: { readonly status: number }): void {
    this.status = head.status;
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.body += bytes.toString("latin1", start, end);
  }

  onEnd(): void {
    this.ends += 1;
    this.#settle();
  }

  onBroken(by: BrokenBy): void {
    this.ends += 1;
    this.broken = by;
    this.#settle();
  }
}

function clientOf(port: number, clock: Clock = systemClock, origin = `http://127.0.0.1:${port}`) {
  const client = cleanup.use(new Http1Client(new URL(origin), clock));
  const head = headText({ method: "POST", path: "/x", host: new URL(origin).host, fields: { a: "b" } });
  const start = (body = "{}") => {
    const result = new Result();
    const carrier = client.send(requestWithBody(head, "id-1", body), result);
    return Object.assign(result, { carrier });
  };
  const ask = async (body?: string) => {
    const result = start(body);
    await result.done;
    return result;
  };
  return { client, start, ask };
}

const hello = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const sayHello: Answer = (socket, heard) => {
  if (heard.endsWith("}")) socket.write(hello);
};

describe("connections", () => {
  test("one is used again, one after the other, and what is sent is one request", async () => {
    const server = await serve(sayHello);
    const { ask } = clientOf(server.port);
    for (let i = 0; i < 3; i++) expect((await ask("{}")).body).toBe("hello");
    expect(server.heard).toEqual([
      `POST /x HTTP/1.1\r\nhost: 127.0.0.1:${server.port}\r\nconnection: keep-alive\r\na: b\r\nx-request-id: id-1\r\ncontent-length: 2\r\n\r\n{}`.repeat(
        3,
      ),
    ]);
  });

  test("requests at the same time have one each", async () => {
    const server = await serve((socket) => void setTimeout(() => socket.write(hello), 20));
    const { ask } = clientOf(server.port);
    await Promise.all([ask(), ask(), ask()]);
    await Promise.all([ask(), ask()]);
    expect(server.sockets).toHaveLength(3);
  });

  test.each<[string, string]>([
    ["the server closes it", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"],
    ["something is left over on it", `${hello}HTTP/1.1 200 OK\r\n\r\n`],
    ["the response ends with it", "HTTP/1.1 200 OK\r\n\r\nhello"],
  ])("none is used again where %s", async (_, answer) => {
    const server = await serve(
      (socket) => void (answer.includes("length") ? socket.write(answer) : socket.end(answer)),
    );
    const { ask } = clientOf(server.port);
    expect((await ask()).body).toBe("hello");
    expect((await ask()).body).toBe("hello");
    expect(server.sockets).toHaveLength(2);
  });

  test("one that was idle for 4 s is not used again, and closed", async () => {
    const clock = new SimulatedClock();
    const server = await serve(sayHello);
    const { ask } = clientOf(server.port, clock);
    await ask();
    clock.advance(3_900);
    await ask();
    expect(server.sockets).toHaveLength(1);
    const closed = new Promise((resolve) => server.sockets[0]?.once("close", resolve));
    clock.advance(4_100);
    await closed;
    await ask();
    expect(server.sockets).toHaveLength(2);
  });

  test("one that the server ends while it is idle is not used again", async () => {
    const server = await serve((socket, heard, index) => {
      socket.write(hello);
      if (index === 0 && heard.endsWith("}")) socket.end();
    });
    const { ask } = clientOf(server.port);
    await ask();
    await new Promise((resolve) => server.sockets[0]?.once("close", resolve));
    expect((await ask()).body).toBe("hello");
    expect(server.sockets).toHaveLength(2);
  });

  test("one rests for 50 ms after a stream, which some servers end it after, and is used again then", async () => {
    const clock = new SimulatedClock();
    const server = await serve((socket, heard) => {
      if (heard.endsWith("}"))
        socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    });
    const { ask } = clientOf(server.port, clock);
    await ask();
    clock.advance(49);
    expect((await ask()).body).toBe("hello");
    expect(server.sockets).toHaveLength(2);
    clock.advance(1);
    expect((await ask()).body).toBe("hello");
    expect(server.sockets).toHaveLength(2);
    // By now it is known that this server keeps its connections, until it ends one.
    expect((await ask()).body).toBe("hello");
    expect(server.sockets).toHaveLength(2);
    const ended = server.sockets.map((socket) => new Promise((resolve) => socket.once("close", resolve)));
    for (const socket of server.sockets) socket.end();
    await Promise.all(ended);
    await ask();
    await ask();
    expect(server.sockets).toHaveLength(4);
  });

  test("one that the server promises to keep after a stream, and ends, breaks no request", async () => {
    const server = await serve((socket, heard) => {
      // It reads no second request.
      if (!heard.endsWith("}") || heard.lastIndexOf("POST") > 0) return;
      socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nkeep-alive: timeout=5, max=100\r\n\r\n");
      socket.write("5\r\nhello\r\n0\r\n\r\n");
      setTimeout(() => socket.end(), 5);
    });
    const { ask } = clientOf(server.port);
    for (let i = 0; i < 5; i++) expect(await ask()).toMatchObject({ body: "hello", broken: undefined });
  });

  test("one that speaks unasked is closed", async () => {
    const server = await serve(sayHello);
    const { ask } = clientOf(server.port);
    await ask();
    const closed = new Promise((resolve) => server.sockets[0]?.once("close", resolve));
    server.sockets[0]?.write("HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n");
    await closed;
    expect((await ask()).broken).toBeUndefined();
  });

  test("one whose server answered before it had read the request is not used again", async () => {
    const server = await serve((socket, heard) => {
      if (heard.length > 1_000_000) return;
      socket.pause();
      if (!heard.includes("!")) socket.write("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n");
    });
    const { ask } = clientOf(server.port);
    const early = await ask("x".repeat(32 * 1024 * 1024));
    expect([early.status, early.broken]).toEqual([413, undefined]);
    void ask("!");
    await expect.poll(() => server.sockets.length).toBe(2);
  });
});

describe("a request breaks once, and says how", () => {
  test("where nothing listens", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    expect(await clientOf(port).ask()).toMatchObject({ broken: "unreachable", ends: 1 });
  });

  test.each<[string, Answer, BrokenBy]>([
    ["the connection ends without a word", (socket) => void socket.end(), "lost"],
    ["the connection is reset", (socket) => void socket.resetAndDestroy(), "lost"],
    ["the connection ends within a body", (socket) => void socket.end(hello.slice(0, -1)), "lost"],
    ["no HTTP comes", (socket) => void socket.write("SSH-2.0-x\r\n"), "not HTTP"],
  ])("where %s", async (_, answer, by) => {
    const server = await serve(answer);
    expect(await clientOf(server.port).ask()).toMatchObject({ broken: by, ends: 1 });
  });

  test("also on a connection that was used before, and is not sent again", async () => {
    const server = await serve((socket, heard) => {
      if (heard.split("POST").length === 2) socket.write(hello);
      else socket.destroy();
    });
    const { ask } = clientOf(server.port);
    await ask();
    expect(await ask()).toMatchObject({ broken: "lost", ends: 1 });
    expect(server.sockets).toHaveLength(1);
  });

  test("after 3 s without a connection", async () => {
    const clock = new SimulatedClock();
    // A handshake that never comes is no connection.
    const server = await serve(() => undefined);
    const result = clientOf(server.port, clock, `https://127.0.0.1:${server.port}`).start();
    await expect.poll(() => server.sockets.length).toBe(1);
    clock.advance(2_900);
    expect(result.ends).toBe(0);
    clock.advance(100);
    expect(result).toMatchObject({ broken: "unreachable", ends: 1 });
    expect(clock.pendingTimers).toBe(0);
  });

  test("when the client is disposed", async () => {
    const server = await serve(() => undefined);
    const { client, start } = clientOf(server.port);
    const result = start();
    await expect.poll(() => server.heard[0]).toContain("{}");
    await client[Symbol.asyncDispose]();
    expect(result).toMatchObject({ broken: "lost", ends: 1 });
  });
});

describe("whoever sent a request", () => {
  test("may leave: the connection is closed, and it hears nothing", async () => {
    const server = await serve((socket) => void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhell"));
    const result = clientOf(server.port).start();
    await expect.poll(() => result.body).toBe("hell");
    const closed = new Promise((resolve) => server.sockets[0]?.once("close", resolve));
    result.carrier?.abort(result);
    await closed;
    expect(result.ends).toBe(0);
  });

  test("may not touch the request that has its connection now", async () => {
    const server = await serve((socket, heard) => {
      if (heard.split("POST").length === 2) socket.write(hello);
    });
    const { start, client } = clientOf(server.port);
    const first = start();
    await first.done;
    const second = start();
    expect(second.carrier).toBe(first.carrier);
    first.carrier?.pause(first);
    first.carrier?.abort(first);
    server.sockets[0]?.write(hello);
    await second.done;
    expect(second).toMatchObject({ body: "hello", ends: 1 });
    await client[Symbol.asyncDispose]();
  });

  test("may pause: the server is held back, and nothing is lost", async () => {
    const bytes = 24 * 1024 * 1024;
    const server = await serve((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${bytes}\r\n\r\n`);
      socket.write("x".repeat(bytes));
    });
    const { start, ask } = clientOf(server.port);
    const result = start();
    await expect.poll(() => result.status).toBe(200);
    result.carrier?.pause(result);
    let before = -1;
    while (before !== result.body.length) {
      before = result.body.length;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(before).toBeLessThan(bytes);
    result.carrier?.resume(result);
    await result.done;
    expect(result.body.length).toBe(bytes);
    expect((await ask()).body.length).toBe(bytes);
    expect(server.sockets).toHaveLength(1);
  });
});

describe("addresses", () => {
  test("of IPv6", async () => {
    const server = await serve(sayHello, createServer(), "::1");
    const { ask } = clientOf(server.port, systemClock, `http://[::1]:${server.port}`);
    expect((await ask()).body).toBe("hello");
    expect(server.heard[0]).toContain(`host: [::1]:${server.port}\r\n`);
  });

  test("with TLS: the certificate counts, and connections are used again", async () => {
    const certificate = selfSigned("localhost");
    const server = await serve(sayHello, createTlsServer(certificate));
    const { ask } = clientOf(server.port, systemClock, `https://localhost:${server.port}`);
    expect((await ask()).broken).toBe("unreachable");
    const before = getCACertificates("default");
    setDefaultCACertificates([...before, certificate.cert]);
    try {
      for (let i = 0; i < 2; i++) expect((await ask()).body).toBe("hello");
      const large = `{${"x".repeat(1_000_000)}}`;
      expect((await ask(large)).body).toBe("hello");
      expect(server.heard.at(-1)?.length).toBeGreaterThan(large.length);
    } finally {
      setDefaultCACertificates(before);
    }
    const other = clientOf(server.port, systemClock, `https://127.0.0.1:${server.port}`);
    expect((await other.ask()).broken).toBe("unreachable");
  });
});

test.each<[string, () => string]>([
  ["a line feed in a field", () => headText({ method: "GET", path: "/", host: "x", fields: { key: "a\r\nb: c" } })],
  ["a line feed in the path", () => headText({ method: "GET", path: "/a\r\n", host: "x", fields: {} })],
  ["a space in the path", () => headText({ method: "GET", path: "/a b", host: "x", fields: {} })],
  ["a line feed in the host", () => headText({ method: "GET", path: "/", host: "x\n", fields: {} })],
])("%s makes no head", (_, write) => {
  expect(write).toThrow(RangeError);
});

test("a question is a head and nothing", () => {
  const head = headText({ method: "GET", path: "/v1/models", host: "x", fields: { accept: "*/*" } });
  expect(bareRequest(head)).toBe("GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\naccept: */*\r\n\r\n");
});
