import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, expect, test } from "vitest";
import { accepted, finished, textDelta } from "../../services/drivers/events.ts";
import { FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { type EdgeServer, keys, startEdge } from "../fakes/edge-server.ts";
import { counts, type Script } from "../fakes/scripted-model.ts";

let edge: EdgeServer;
afterEach(() => edge[Symbol.asyncDispose]());

/** Text whose length in bytes is not that in characters, a turn each; one is of several fragments. */
const turns = [["é", "漢字"], ["🙂"], ["x".repeat(20_000)]];

const inTurns: Script = ({ sink }) => {
  sink.event(accepted());
  for (const fragments of turns) {
    for (const fragment of fragments) sink.event(textDelta(0, fragment, 1));
    sink.turn();
  }
  sink.event(finished(0, FinishReason.STOP));
  sink.event(counts(1, 4));
  sink.end();
};

const body = JSON.stringify({ model: "weir-sim", stream: true, messages: [{ role: "user", content: "hi" }] });

function request(version: string, connection: string): string {
  return [
    `POST /v1/chat/completions HTTP/${version}`,
    "host: a",
    `connection: ${connection}`,
    `authorization: Bearer ${keys.good}`,
    "content-type: application/json",
    `content-length: ${Buffer.byteLength(body)}`,
    "",
    body,
  ].join("\r\n");
}

/** Everything that comes until the server ends the connection. */
async function exchange(text: string): Promise<Buffer> {
  const socket = connect(edge.port, "127.0.0.1");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk)).write(text);
  await once(socket, "close");
  return Buffer.concat(chunks);
}

interface Answer {
  readonly head: string;
  readonly body: string;
  readonly rest: Buffer;
}

function headOf(bytes: Buffer): readonly [head: string, rest: Buffer] {
  const end = bytes.indexOf("\r\n\r\n");
  return [bytes.toString("latin1", 0, end).toLowerCase(), bytes.subarray(end + 4)];
}

/** By the letter of RFC 9112, section 7.1: no empty chunk but the last, and every border where its length says. */
function dechunked(bytes: Buffer): Answer {
  const [head, chunks] = headOf(bytes);
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = chunks.indexOf("\r\n", at);
    const digits = chunks.toString("latin1", at, line);
    expect(digits).toMatch(/^[0-9a-f]+$/);
    const length = Number.parseInt(digits, 16);
    const end = line + 2 + length;
    expect(chunks.toString("latin1", end, end + 2)).toBe("\r\n");
    if (length === 0) return { head, body: Buffer.concat(parts).toString(), rest: chunks.subarray(end + 2) };
    parts.push(chunks.subarray(line + 2, end));
    at = end + 2;
  }
}

function expectWhole(events: string): void {
  const texts = [...events.matchAll(/^data: (\{.*\})$/gm)].map(
    ([, json = ""]) =>
      (JSON.parse(json) as { readonly choices: readonly { readonly delta: { readonly content?: string } }[] })
        .choices[0]?.delta.content ?? "",
  );
  expect(texts.join("")).toBe(turns.flat().join(""));
  expect(events.endsWith("data: [DONE]\n\n")).toBe(true);
}

test("the chunks of a stream are as long as they say, and the next answer on the connection follows them", async () => {
  edge = await startEdge({ script: inTurns });
  const first = dechunked(await exchange(request("1.1", "keep-alive") + request("1.1", "close")));
  const second = dechunked(first.rest);
  for (const { head, body } of [first, second]) {
    expect(head).toMatch(/^http\/1\.1 200 ok\r\n/);
    expect(head.match(/transfer-encoding: chunked/g)).toHaveLength(1);
    expectWhole(body);
  }
  expect(second.rest).toHaveLength(0);
});

test("HTTP/1.0 gets its stream without chunks, up to the end of the connection", async () => {
  edge = await startEdge({ script: inTurns });
  const [head, bytes] = headOf(await exchange(request("1.0", "close")));
  expect(head).toContain("connection: close");
  expect(head).not.toContain("transfer-encoding");
  expectWhole(bytes.toString());
});
