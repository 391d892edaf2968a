import { create } from "@bufbuild/protobuf";
import { type Client, createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NotesService, type WatchNotesResponse } from "../../examples/notes/gen/notes/v1/notes_pb.ts";
import { ServerReflection, ServerReflectionRequestSchema } from "../../gen/ts/grpc/reflection/v1/reflection_pb.ts";
import { KeyService } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { type WeirError, weirErrorFrom } from "../../services/runtime/errors/fail.ts";
import { eventually } from "./eventually.ts";
import { connectTo, type ExtensionProcess, grpcTo, startExtensionProcess } from "./extension-process.ts";
import { Ending, ProbeService } from "./gen/acceptance/v1/probe_service_pb.ts";
import { secretText } from "./probe.ts";
import { probeLog } from "./probe-role.ts";

const both = ["notes.read", "notes.write"];
let process: ExtensionProcess;
let redKey: string;
let blueKey: string;

beforeAll(async () => {
  process = await startExtensionProcess(["examples/notes/role.ts", "test/rpc/probe-role.ts"]);
  await process.makeProject({ id: "red", orgId: "acme" });
  await process.makeProject({ id: "blue", orgId: "acme" });
  redKey = (await process.makeKey({ projectId: "red", permissions: both })).key;
  blueKey = (await process.makeKey({ projectId: "blue", permissions: both })).key;
});
afterAll(() => process?.[Symbol.asyncDispose]());

const notes = (key?: string): Client<typeof NotesService> => createClient(NotesService, connectTo(process.url, key));
const probe = (key?: string) => createClient(ProbeService, connectTo(process.url, key));

async function failureOf(work: Promise<unknown>): Promise<WeirError> {
  return await work.then(
    () => expect.fail("it was not refused"),
    (thrown: unknown) => weirErrorFrom(thrown),
  );
}

/** Reads a stream to its end. */
async function drain(stream: AsyncIterable<WatchNotesResponse>, into: string[] = []): Promise<void> {
  for await (const { note } of stream) into.push(note?.text ?? "?");
}

/** The texts of the notes that are there now. */
async function textsOf(key: string, projectId = ""): Promise<string[]> {
  const texts: string[] = [];
  const leaving = new AbortController();
  const reading = drain(notes(key).watchNotes({ projectId }, { signal: leaving.signal, timeoutMs: 300 }), texts);
  await failureOf(reading);
  return texts;
}

describe("an extension's service gets from its contract alone", () => {
  test("an answer, over Connect and over gRPC", async () => {
    const { note } = await notes(redKey).createNote({ requestId: "first", text: "over Connect" });
    expect(note).toMatchObject({ projectId: "red", text: "over Connect" });
    const overGrpc = createClient(NotesService, grpcTo(process.url, redKey));
    await overGrpc.createNote({ requestId: "second", text: "over gRPC" });
    const heard: string[] = [];
    for await (const response of overGrpc.watchNotes({})) {
      if (heard.push(response.note?.text ?? "?") === 2) break;
    }
    expect(heard).toEqual(["over Connect", "over gRPC"]);
  });

  test("a stream that tells of what comes later", async () => {
    const heard: string[] = [];
    const leaving = new AbortController();
    const watch = drain(notes(blueKey).watchNotes({}, { signal: leaving.signal }), heard);
    watch.catch(() => {});
    await notes(blueKey).createNote({ requestId: "later", text: "news" });
    await eventually("the note arrives", () => heard.includes("news"));
    leaving.abort();
    expect((await failureOf(watch)).reason).toBe(ErrorReason.CANCELLED);
  });

  const strangers: [string, string | undefined, ErrorReason][] = [
    ["nobody", undefined, ErrorReason.CREDENTIAL_MISSING],
    ["a key that was never made", "weir_nosuchkey", ErrorReason.CREDENTIAL_INVALID],
  ];
  test.each(strangers)("authentication: %s is refused", async (_name, key, reason) => {
    const refused = notes(key).createNote({ requestId: "x", text: "x" });
    expect((await failureOf(refused)).reason).toBe(reason);
  });

  test("authentication: revoking a key ends its running streams", async () => {
    const { id, key } = await process.makeKey({ projectId: "red", permissions: both });
    const watch = drain(notes(key).watchNotes({ projectId: "red" }));
    const failure = failureOf(watch);
    await process.revokeKey({ projectId: "red", id });
    expect((await failure).reason).toBe(ErrorReason.KEY_REVOKED);
  });

  test("tenancy: a project's notes are there for its own keys only", async () => {
    await notes(redKey).createNote({ requestId: "secret", text: "of red alone" });
    expect(await textsOf(redKey)).toContain("of red alone");
    expect(await textsOf(blueKey)).not.toContain("of red alone");
    const named = await failureOf(notes(blueKey).createNote({ requestId: "x", projectId: "red", text: "x" }));
    expect(named).toMatchObject({ reason: ErrorReason.NOT_FOUND, facts: { resource: "project", id: "red" } });
    const watched = await failureOf(drain(notes(blueKey).watchNotes({ projectId: "red" })));
    expect(watched.reason).toBe(ErrorReason.NOT_FOUND);
  });

  test("tenancy: a key that reaches its organisation sees all of its projects, and none of another's", async () => {
    await process.makeProject({ id: "green", orgId: "umbrella" });
    const reach = Reach.ORG;
    const ofAcme = (await process.makeKey({ projectId: "blue", permissions: both, reach })).key;
    const ofUmbrella = (await process.makeKey({ projectId: "green", permissions: both, reach })).key;
    expect(await textsOf(ofAcme, "red")).toContain("over Connect");
    const stray = notes(ofUmbrella).createNote({ requestId: "stray", projectId: "red", text: "from outside" });
    expect((await failureOf(stray)).reason).toBe(ErrorReason.NOT_FOUND);
    expect((await failureOf(drain(notes(ofUmbrella).watchNotes({ projectId: "red" })))).reason).toBe(
      ErrorReason.NOT_FOUND,
    );
    expect(await textsOf(redKey)).not.toContain("from outside");
  });

  test("permission: what the contract asks for is what a key can be given, and is needed", async () => {
    const { key } = await process.makeKey({ projectId: "red", permissions: ["notes.read"] });
    expect(await textsOf(key)).toContain("over Connect");
    const refused = await failureOf(notes(key).createNote({ requestId: "x", text: "x" }));
    expect(refused).toMatchObject({
      reason: ErrorReason.PERMISSION_DENIED,
      facts: { permission: "notes.write" },
    });
    const unheardOf = process.makeKey({ projectId: "red", permissions: ["notes.fold"] });
    expect((await failureOf(unheardOf)).reason).toBe(ErrorReason.INVALID_ARGUMENT);
  });

  const invalid: [string, { requestId: string; text: string }, string][] = [
    ["an empty text", { requestId: "x", text: "" }, "text"],
    ["a text that is too long", { requestId: "x", text: "x".repeat(1001) }, "text"],
    ["an id with a space", { requestId: "a b", text: "x" }, "request_id"],
  ];
  test.each(invalid)("validation: %s is refused with its field", async (_name, request, param) => {
    const refused = await failureOf(notes(redKey).createNote(request));
    expect(refused).toMatchObject({ reason: ErrorReason.INVALID_ARGUMENT, facts: { param } });
  });

  test("deadline: the caller's ends its stream", async () => {
    // Not by a client that counts along: only the runtime can end this one.
    const response = await fetch(`${process.url}/notes.v1.NotesService/WatchNotes`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${blueKey}`,
        "content-type": "application/connect+json",
        "connect-protocol-version": "1",
        "connect-timeout-ms": "200",
      },
      body: new Uint8Array([0, 0, 0, 0, 2, 0x7b, 0x7d]),
      signal: AbortSignal.timeout(5_000),
    });
    expect(await response.text()).toContain('"code":"deadline_exceeded"');
  });

  test("deadline: the contract's holds for a caller who would wait longer", async () => {
    const { key } = await process.makeKey({ projectId: "red", permissions: ["models.read"] });
    await probe(key).ask({}, { timeoutMs: 3_600_000 });
    const leftMs = (probeLog.context?.deadlineMs ?? 0) - systemClock.monotonicMs();
    expect(leftMs).toBeGreaterThan(0);
    expect(leftMs).toBeLessThanOrEqual(30_000);
  });

  test("errors: a reason arrives with its facts, and a defect without its words", async () => {
    const taken = await failureOf(notes(redKey).createNote({ requestId: "first", text: "another text" }));
    expect(taken).toMatchObject({ reason: ErrorReason.ALREADY_EXISTS, facts: { request_id: "first" } });
    const { key } = await process.makeKey({ projectId: "red", permissions: ["models.read"] });
    const broken = await failureOf(probe(key).ask({ behaviour: { ending: Ending.BREAK } }));
    expect(broken.reason).toBe(ErrorReason.INTERNAL);
    expect(JSON.stringify([broken.message, broken.facts])).not.toContain(secretText);
  });

  test("metrics: every call is counted with how it ended", async () => {
    const text = await (await fetch(`${process.adminUrl}/metrics`)).text();
    expect(text).toMatch(/^weir_rpc_total\{method="notes\.v1\.NotesService\/CreateNote",code="ok"\} [1-9]/m);
    expect(text).toMatch(
      /^weir_rpc_total\{method="notes\.v1\.NotesService\/CreateNote",code="permission_denied"\} 1$/m,
    );
    expect(text).toMatch(/^weir_rpc_duration_seconds_count\{method="notes\.v1\.NotesService\/WatchNotes"\} [1-9]/m);
  });

  test("reflection: it is listed", async () => {
    const reflection = createClient(ServerReflection, grpcTo(process.url));
    async function* ask() {
      yield create(ServerReflectionRequestSchema, { messageRequest: { case: "listServices", value: "*" } });
    }
    const listed: string[] = [];
    for await (const { messageResponse } of reflection.serverReflectionInfo(ask())) {
      if (messageResponse.case === "listServicesResponse") {
        listed.push(...messageResponse.value.service.map(({ name }) => name));
      }
    }
    expect(listed).toEqual(expect.arrayContaining([NotesService.typeName, KeyService.typeName]));
  });
});

describe("a method that declares no policy", () => {
  const callers: [string, () => string | undefined][] = [
    ["nobody", () => undefined],
    ["a key of a team", () => redKey],
    ["the admin key", () => process.adminKey],
  ];
  test.each(callers)("is refused on the public port to %s, and its handler does not run", async (_name, key) => {
    const before = probeLog.entered;
    const unary = await failureOf(probe(key()).forget({}));
    expect(unary).toMatchObject({
      reason: ErrorReason.METHOD_UNDECLARED,
      message: expect.stringContaining("weir.policy.v1.method"),
    });
    const streamed = await failureOf(probe(key()).forgetMany({})[Symbol.asyncIterator]().next());
    expect(streamed.reason).toBe(ErrorReason.METHOD_UNDECLARED);
    expect(probeLog.entered).toBe(before);
  });
});
