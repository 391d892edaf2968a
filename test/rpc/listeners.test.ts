import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { weirErrorFrom } from "../../services/runtime/errors/fail.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { withMeshHeaders } from "../../services/runtime/mesh/mesh-transport.ts";
import { createPeerTransport } from "../../services/runtime/mesh/peer.ts";
import { createHarness, type Harness, meshToken, principal } from "./harness.ts";
import { ProbeService } from "./gen/acceptance/v1/probe_service_pb.ts";

let harness: Harness;
let publicly: Transport;

beforeEach(async () => {
  harness = await createHarness("direct");
  harness.identity.keys.set("good", principal());
  publicly = createConnectTransport({ baseUrl: harness.publicUrl, httpVersion: "2" });
});
afterEach(() => harness[Symbol.asyncDispose]());

async function reasonOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => weirErrorFrom(thrown),
  );
  return error ? (Object.entries(ErrorReason).find(([, value]) => value === error.reason)?.[0] ?? "?") : "OK";
}

const client = () => createClient(ProbeService, publicly);

const credentials: [string, Record<string, string>, string][] = [
  ["no key", {}, "CREDENTIAL_MISSING"],
  ["an unknown key", { authorization: "Bearer bad" }, "CREDENTIAL_INVALID"],
  ["a key", { authorization: "Bearer good" }, "OK"],
  ["a key in another header", { "x-api-key": "good" }, "OK"],
  ["two keys", { authorization: "Bearer good", "x-api-key": "good" }, "CREDENTIAL_AMBIGUOUS"],
];

test.each(credentials)("the public listener is called with %s", async (_name, headers, outcome) => {
  expect(await reasonOf(client().ask({}, { headers }))).toBe(outcome);
});

test("the public listener does not serve what is for processes", async () => {
  const headers = { authorization: "Bearer good" };
  expect(await reasonOf(client().exchange({}, { headers }))).toBe("WRONG_LISTENER");
});

test("a caller cannot speak as the installation on the public listener", async () => {
  const options = withCallOptions({
    principal: principal({ reach: Reach.INSTALLATION, permissions: ["*"] }),
    trusted: true,
  });
  const disguised = createClient(ProbeService, withMeshHeaders(publicly, meshToken));
  expect(await reasonOf(disguised.ask({}, options))).toBe("CREDENTIAL_MISSING");
  const headers = { authorization: "Bearer good" };
  expect(await reasonOf(disguised.ask({ projectId: "another" }, { ...options, headers }))).toBe("NOT_FOUND");
  expect(await reasonOf(disguised.ask({ name: "longer than sixteen" }, { ...options, headers }))).toBe(
    "INVALID_ARGUMENT",
  );
});

test.each(["", "wrong", `${meshToken}x`])("a process with the mesh token %j is not trusted", async (token) => {
  const transport = createConnectTransport({ baseUrl: harness.meshUrl, httpVersion: "2" });
  const peer = createClient(ProbeService, withMeshHeaders(transport, token));
  expect(await reasonOf(peer.exchange({}))).toBe("PEER_NOT_TRUSTED");
});

test("every answer carries the request's id, which a caller does not choose", async () => {
  const chosen = "019aa7b0-0000-7000-8000-00000000beef";
  const headers = { authorization: "Bearer good", "weir-request-id": chosen, "x-request-id": chosen };
  let told: string | null = null;
  const answer = await client().ask({}, { headers, onHeader: (header) => (told = header.get("x-request-id")) });
  expect(answer.requestId).not.toBe(chosen);
  expect(told).toBe(answer.requestId);
});

test("a request over the limit is refused while it is read", async () => {
  const headers = { authorization: "Bearer good" };
  const error = await client()
    .ask({ items: ["x".repeat(2 * 1024 * 1024)] }, { headers })
    .catch((thrown: unknown) => ConnectError.from(thrown));
  expect(error).toMatchObject({ code: Code.ResourceExhausted });
  expect(harness.probe.entered).toBe(0);
});

test("a caller without a key is refused before its request is read", async () => {
  expect(await reasonOf(client().ask({ items: ["x".repeat(2 * 1024 * 1024)] }))).toBe("CREDENTIAL_MISSING");
});

test("a peer that is away is told as the service that is", async () => {
  const gone = await createHarness("direct");
  const { meshUrl } = gone;
  await gone[Symbol.asyncDispose]();
  using peer = createPeerTransport({ baseUrl: meshUrl, token: meshToken, clock: systemClock });
  const error = await createClient(ProbeService, peer)
    .exchange({})
    .catch((thrown: unknown) => weirErrorFrom(thrown));
  expect(error).toMatchObject({
    reason: ErrorReason.SERVICE_UNAVAILABLE,
    facts: { service: "acceptance.v1.ProbeService" },
    retryAfterMs: 1_000,
  });
});

test("a deadline with a fraction reaches a peer", async () => {
  using peer = createPeerTransport({ baseUrl: harness.meshUrl, token: meshToken, clock: systemClock });
  expect(await reasonOf(createClient(ProbeService, peer).exchange({}, { timeoutMs: 5_000.25 }))).toBe("OK");
});

test("more calls at once than a session takes are answered all the same", async () => {
  using peer = createPeerTransport({ baseUrl: harness.meshUrl, token: meshToken, clock: systemClock });
  const client = createClient(ProbeService, peer);
  const answers = await Promise.all(Array.from({ length: 500 }, () => client.exchange({})));
  expect(answers).toHaveLength(500);
});
