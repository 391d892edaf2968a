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
