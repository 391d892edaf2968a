import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Gateway, startGateway } from "../fakes/gateway.ts";
import { eventsOf, type RawReply } from "../fakes/raw-request.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { expectRefusal, kinds, lineOf, nothingIsLeft, plain, send, textOf, yamlFor } from "./engine-kinds.ts";

const firstEventMs = 700;
const idleMs = 400;
const totalMs = 1_500;
/** What a busy machine may add to any of them. */
const slackMs = 1_000;
const times = `first_event_timeout: ${firstEventMs}ms, idle_timeout: ${idleMs}ms, total_timeout: ${totalMs}ms`;

let engine: SimulatorProcess;
let tail: RecordTail;
let gateway: Gateway;

beforeAll(async () => {
  engine = await startSimulatorProcess(["--decode-ms", "5", "--prefill-ms", "0"]);
  tail = new RecordTail(engine.recordPath);
  gateway = await startGateway(yamlFor([{ name: "one", engines: [engine], times }]));
}, 60_000);
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  tail?.[Symbol.dispose]();
  await engine?.[Symbol.asyncDispose]();
});

/** A stream that fails on its way: what came is what the engine said, then one error, then the end without a mark. */
function expectBroken(reply: RawReply | undefined, code: string, text: string): void {
  expect([reply?.status, reply?.whole]).toEqual([200, true]);
  const events = eventsOf(reply?.body ?? "");
  expect(events.errors.map((error) => error.code)).toEqual([code]);
  expect([events.dones, events.finishes]).toEqual([0, []]);
  expect(events.chunks.at(-1)?.error?.code).toBe(code);
  expect(plain(events.text)).toBe(plain(text));
  expect(reply?.body).not.toMatch(/127\.0\.0\.1|Error:|\bat \//);
}

interface Row {
  readonly fault: string;
  readonly command: string;
  readonly status: number;
  readonly code: string;
  readonly reason: string;
  /** The longest that it may take, for a stream and for an answer in one piece. */
  readonly afterMs: readonly [number, number];
}

const soon = [0, 0] as const;

/** Before anything was sent. */
const early: readonly Row[] = [
  {
    fault: "cut",
    command: "[[sim cut after=0]]",
    status: 502,
    code: "upstream_unavailable",
    reason: "ENGINE_UNAVAILABLE",
    afterMs: soon,
  },
  {
    fault: "hang",
    command: "[[sim hang after=0]]",
    status: 504,
    code: "upstream_timeout",
    reason: "ENGINE_TIMEOUT",
    afterMs: [firstEventMs, totalMs],
  },
  {
    fault: "early end",
    command: "[[sim early_end after=0]]",
    status: 502,
    code: "upstream_truncated",
    reason: "ENGINE_TRUNCATED",
    afterMs: soon,
  },
  {
    fault: "error",
    command: "[[sim error after=0]]",
    status: 502,
    code: "upstream_error",
    reason: "ENGINE_FAILED",
    afterMs: soon,
  },
  {
    fault: "refusal of a full queue",
    command: "[[sim reject]]",
    status: 503,
    code: "server_overloaded",
    reason: "ENGINE_OVERLOADED",
    afterMs: soon,
  },
  {
    fault: "delay beyond patience",
    command: "[[sim delay after=0 ms=60000]]",
    status: 504,
    code: "upstream_timeout",
    reason: "ENGINE_TIMEOUT",
    afterMs: [firstEventMs, totalMs],
  },
];

/** After three tokens. */
const late: readonly Row[] = [
  ...early
    .filter(({ fault }) => !fault.startsWith("refusal"))
    .map((row) => ({
      ...row,
      command: row.command.replace("after=0", "after=3"),
      afterMs: row.afterMs[0] === 0 ? soon : ([idleMs, totalMs] as const),
    })),
  {
    fault: "drip slower than patience",
    command: "[[sim drip after=3 ms=60000]]",
    status: 504,
    code: "upstream_timeout",
    reason: "ENGINE_TIMEOUT",
    afterMs: [idleMs, totalMs],
  },
];

/** A cut ends all that its connection carries: these have the engine to themselves. */
const cuts = ({ fault }: Row) => fault === "cut";
const others = (row: Row) => !cuts(row);

describe.each(kinds)("a fault of an engine (%s)", (kind) => {
  const model = `one-${kind}`;

  test.each(early.filter(cuts))("before anything was sent: $fault", async (row) => {
    for (const stream of [true, false]) await expectRefused(row, stream);
    await nothingIsLeft(gateway, [tail]);
  });

  test.each(late.filter(cuts))("after some text: $fault", async (row) => {
    await expectBrokenOff(row);
    await expectRefused(row, false);
    await nothingIsLeft(gateway, [tail]);
  });

  describe("beside others", () => {
    afterAll(() => nothingIsLeft(gateway, [tail]));

    test.concurrent.each(early.filter(others))("before anything was sent: $fault", async (row) => {
      await Promise.all([expectRefused(row, true), expectRefused(row, false)]);
    });

    test.concurrent.each(late.filter(others))("after some text: $fault", async (row) => {
      await Promise.all([expectBrokenOff(row), expectRefused(row, false)]);
    });

    test.concurrent.each([
      "[[sim delay after=0 ms=300]]",
      "[[sim delay after=3 ms=200]]",
      "[[sim drip after=3 ms=30]]",
    ])("that is borne: %s", borne);
  });

  async function expectRefused({ command, status, code, reason, afterMs }: Row, stream: boolean): Promise<void> {
    const client = send({ model, prompt: command, stream }, gateway);
    const reply = await client.done();
    expectRefusal(reply, status, code);
    expect(reply?.headers.has("retry-after")).toBe(status === 503);
    const [tookMs, expectedMs] = [client.lastByteMs - client.startedMs, afterMs[stream ? 0 : 1]];
    expect(tookMs).toBeGreaterThanOrEqual(expectedMs);
    expect(tookMs).toBeLessThanOrEqual(expectedMs + slackMs);
    expect(await lineOf(reply, gateway)).toMatchObject({ end: "failed", reason, attempts: [{ outcome: reason }] });
  }

  async function expectBrokenOff({ command, code, reason, afterMs }: Row): Promise<void> {
    const client = send({ model, prompt: command, stream: true }, gateway);
    const reply = await client.done();
    expectBroken(reply, code, textOf(command, 3));
    const tookMs = client.lastByteMs - client.startedMs;
    expect(tookMs).toBeGreaterThanOrEqual(afterMs[0]);
    expect(tookMs).toBeLessThanOrEqual(afterMs[0] + slackMs);
    expect(await lineOf(reply, gateway)).toMatchObject({ end: "failed", reason, attempts: [{ outcome: reason }] });
  }

  async function borne(prompt: string): Promise<void> {
    const [reply, whole] = await Promise.all(
      [true, false].map((stream) => send({ model, prompt, stream }, gateway).done()),
    );
    const events = eventsOf(reply?.body ?? "");
    expect([events.errors, events.dones, events.finishes]).toEqual([[], 1, ["length"]]);
    expect(plain(events.text)).toBe(plain(textOf(prompt, 12)));
    const { choices } = JSON.parse(whole?.body ?? "");
    expect(choices).toMatchObject([{ text: textOf(prompt, 12), finish_reason: "length" }]);
    expect(await lineOf(reply, gateway)).toMatchObject({ end: "ok", attempts: [{ outcome: "ok" }] });
  }
});
