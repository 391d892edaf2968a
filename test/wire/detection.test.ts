import type { ServerResponse } from "node:http";
import { status } from "@grpc/grpc-js";
import { afterAll, describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { detectDialect } from "../../services/drivers/registry.ts";
import { startFakeGrpc } from "../fakes/fake-grpc.ts";
import { startFakeOpenAi } from "../fakes/fake-openai.ts";
import { startFakeTgi, tgiInfo } from "../fakes/fake-tgi.ts";
import { startSharedPort } from "../fakes/shared-port.ts";
import { targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const soon = () => AbortSignal.timeout(5_000);
const models = { object: "list", data: [{ id: "m", owned_by: "us" }] };

/** Answers a path in these ways, one after another, with the last one for ever. */
function inTurn(ways: readonly ((response: ServerResponse) => void)[]): (response: ServerResponse) => void {
  let asked = 0;
  return (response) => ways[Math.min(asked++, ways.length - 1)]?.(response);
}
const reset = (response: ServerResponse) => void response.destroy();
const tells = (json: unknown) => (response: ServerResponse) => void response.end(JSON.stringify(json));
const refuses = (code: number) => (response: ServerResponse) => void response.writeHead(code).end();

describe("a proxy that lets only some paths through", () => {
  test("refuses all of gRPC, and its engine's HTTP counts", async () => {
    const grpc = cleanup.use(await startFakeGrpc((call) => call.end(status.PERMISSION_DENIED, "RBAC: access denied")));
    const http = cleanup.use(await startFakeOpenAi({ routes: { "/v1/models": models, "/info": refuses(403) } }));
    const { address } = cleanup.use(await startSharedPort({ http2: grpc.url, http1: http.url }));
    for (const scheme of ["http", "any"])
      expect(await detectDialect(targetAt(`${scheme}://${address}`), soon())).toBe(Dialect.OPENAI);
  });

  test("refuses everything: the first kind counts, as our key may be at fault", async () => {
    const grpc = cleanup.use(await startFakeGrpc((call) => call.end(status.UNAUTHENTICATED, "no key")));
    expect(await detectDialect(targetAt(grpc.url), soon())).toBe(Dialect.TRITON);
  });
});

describe("a server that lists its models as OpenAI does", () => {
  test.each([
    ["is TGI that dropped one question", [reset, tells(tgiInfo)], Dialect.TGI],
    ["is TGI that was busy for a moment", [refuses(503), tells(tgiInfo)], Dialect.TGI],
    ["is taken at its word when it drops the question twice", [reset, reset, tells(tgiInfo)], Dialect.OPENAI],
    ["is taken at its word when it fails twice at a path that it may not know", [refuses(500)], Dialect.OPENAI],
  ])("%s", async (_, ways, dialect) => {
    const server = cleanup.use(await startFakeTgi({ routes: { "/info": inTurn(ways), "/v1/models": models } }));
    expect(await detectDialect(targetAt(server.url), soon())).toBe(dialect);
  });

  test("is not waited for in dialects to which it says nothing at all", async () => {
    const http = cleanup.use(await startFakeOpenAi({ routes: { "/v1/models": models } }));
    const { address } = cleanup.use(await startSharedPort({ http2: undefined, http1: http.url }));
    expect(await detectDialect(targetAt(`any://${address}`), soon())).toBe(Dialect.OPENAI);
  });

  test("is not settled on when there is no time to ask again", async () => {
    const stop = new AbortController();
    const routes = { "/info": inTurn([reset, () => stop.abort()]), "/v1/models": models };
    const server = cleanup.use(await startFakeTgi({ routes }));
    await expect(detectDialect(targetAt(server.url), stop.signal)).rejects.toThrow("could not be reached");
  });
});

describe("a proxy whose engine is not there", () => {
  test("says so to all of HTTP: its engine could not be reached", async () => {
    const paths = ["/info", "/v1/models", "/v1/models?limit=1"];
    const routes = Object.fromEntries(paths.map((path) => [path, refuses(503)]));
    const server = cleanup.use(await startFakeOpenAi({ routes }));
    const address = server.url.replace("http:", "any:");
    await expect(detectDialect(targetAt(address), soon())).rejects.toThrow("could not be reached");
    expect(new Set(server.asked)).toEqual(new Set(paths));
  });

  test("says so to all of gRPC: its engine could not be reached", async () => {
    const grpc = cleanup.use(await startFakeGrpc((call) => call.end(status.UNAVAILABLE, "no healthy upstream")));
    const http = cleanup.use(await startFakeOpenAi({ routes: {} }));
    const { address } = cleanup.use(await startSharedPort({ http2: grpc.url, http1: http.url }));
    await expect(detectDialect(targetAt(`any://${address}`), soon())).rejects.toThrow("could not be reached");
  });
});

test("a server of web pages that says nothing to gRPC is no engine", async () => {
  const http = cleanup.use(await startFakeOpenAi({ routes: {} }));
  const { address } = cleanup.use(await startSharedPort({ http2: undefined, http1: http.url }));
  await expect(detectDialect(targetAt(`any://${address}`), soon())).rejects.toThrow("it speaks neither");
});
