import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Dimension } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { type Installation, shapes, startInstallation } from "../fakes/installation.ts";
import { become, type LimitedKey, limitedKey, limitStatus } from "../fakes/limited-keys.ts";
import { eventsOf, RawRequest } from "../fakes/raw-request.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { seededRandom } from "../fakes/seeded-random.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";

/** Requests one after the other, in each shape; `LIMIT_SEQUENCE=10000` for the long form. */
const requests = Number(process.env["LIMIT_SEQUENCE"] ?? 150);
const seed = Number(process.env["LIMIT_SEED"] ?? 1);

/** The status of a whole answer, the code of the error that ended it, or that it was left. */
type End = number | string;

describe.each(shapes)("one request after the other at a concurrency of 1, in %s", (shape) => {
  let engine: SimulatorProcess;
  let tail: RecordTail;
  let weir: Installation;
  let mine: LimitedKey;
  let occupant: RawRequest | undefined;
  const random = seededRandom(seed);

  beforeAll(async () => {
    engine = await startSimulatorProcess(["--decode-ms", "0", "--prefill-ms", "0"]);
    tail = new RecordTail(engine.recordPath);
    weir = await startInstallation(shape, {
      yaml: [
        "pools:",
        `  - { id: wide, replicas: [{ url: "${engine.httpUrl}" }] }`,
        `  - { id: narrow, replicas: [{ url: "${engine.httpUrl}" }], concurrency_max: 1 }`,
        "models:",
        "  - { id: wide, pool: wide, engine_model: weir-sim }",
        "  - { id: narrow, pool: narrow, engine_model: weir-sim }",
      ].join("\n"),
    });
    mine = await limitedKey(weir, { dimension: Dimension.CONCURRENT_REQUESTS, ceiling: { case: "count", value: 1n } });
  }, 120_000);

  afterAll(async () => {
    await weir?.[Symbol.asyncDispose]();
    tail?.[Symbol.dispose]();
    await engine?.[Symbol.asyncDispose]();
  });

  interface Wish {
    readonly model?: string;
    readonly say?: string;
    readonly most?: number;
    readonly key?: string;
    readonly stream?: boolean;
    readonly timeoutMs?: number;
    readonly more?: object;
  }

  const ask = ({ model = "wide", say = "Hello.", most = 4, key = mine.secret, stream = true, timeoutMs, more }: Wish) =>
    new RawRequest({
      port: Number(new URL(weir.gateway.url).port),
      key,
      path: "/v1/chat/completions",
      body: { model, messages: [{ role: "user", content: say }], max_tokens: most, stream, ...more },
      headers: timeoutMs === undefined ? {} : { "x-weir-timeout-ms": String(timeoutMs) },
    });

  async function endOf(request: RawRequest): Promise<End> {
    const reply = await request.done(20_000);
    request.leave();
    if (reply?.status !== 200) return reply?.status ?? "reset";
    return eventsOf(reply.body).errors[0]?.code ?? 200;
  }

  /** Leaves when something has come so far, unless it is over before. */
  async function leaveOnce(holds: () => boolean | Promise<boolean>, request: RawRequest): Promise<End> {
    while (!(await holds()) && !request.isClosed && !request.reply()?.whole) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const status = request.reply()?.status;
    request.leave(random.below(2) === 0 ? "reset" : "close");
    return status !== undefined && status !== 200 ? status : "left";
  }

  /** Somebody else has the only place of the narrow pool. */
  async function occupied(): Promise<void> {
    if (occupant && !occupant.isClosed && !occupant.reply()?.whole) return;
    const say = "[[sim drip after=1 ms=1000]] [[sim length=8000]]";
    const next = ask({ model: "narrow", say, most: 8_000, key: weir.key });
    await eventually("the narrow pool is full", () => tail.open().length === 1, 10_000);
    occupant = next;
  }

  const waiting = async () => {
    const text = await (await fetch(`${weir.gateway.adminUrl}/metrics`)).text();
    return /^weir_requests_queued\{model="narrow"\} 1$/m.test(text);
  };

  let said = 0;
  /** The same again would be refused: engines went away with it. */
  const once = (say: string) => `${say} ${said++}`;

  /** Every way in which a request ends, and how that may look. */
  const ways: Readonly<Record<string, readonly [() => Promise<End>, ...End[]]>> = {
    "well, streamed": [() => endOf(ask({})), 200],
    "well, in one piece": [() => endOf(ask({ stream: false })), 200],
    "the engine fails before the first token": [() => endOf(ask({ say: "[[sim error after=0]]" })), 502],
    "the engine refuses": [() => endOf(ask({ say: "[[sim reject]]" })), 503],
    "the engine fails in the middle": [() => endOf(ask({ say: "[[sim error after=2]]" })), "upstream_error"],
    "the engine breaks off in the middle": [
      () => endOf(ask({ say: once("[[sim cut after=2]]") })),
      "upstream_unavailable",
    ],
    "the engine stops without an end": [
      () => endOf(ask({ say: once("[[sim early_end after=2]]") })),
      "upstream_truncated",
    ],
    "its time passes before the first token": [() => endOf(ask({ say: "[[sim hang after=0]]", timeoutMs: 40 })), 504],
    "its time passes in the middle": [() => endOf(ask({ say: "[[sim hang after=2]]", timeoutMs: 60 })), "timeout", 504],
    "its time passes in the queue": [
      async () => {
        await occupied();
        return endOf(ask({ model: "narrow", timeoutMs: 30 }));
      },
      504,
    ],
    "left in the queue": [
      async () => {
        await occupied();
        return leaveOnce(waiting, ask({ model: "narrow" }));
      },
      "left",
    ],
    "left before the first token": [
      () => {
        const before = new Set(tail.open().map(({ id }) => id));
        return leaveOnce(
          () => tail.open().some(({ id }) => !before.has(id)),
          ask({ say: "[[sim delay after=0 ms=60000]]" }),
        );
      },
      "left",
    ],
    "left in the middle": [
      () => {
        const request = ask({ say: "[[sim drip after=2 ms=60000]]" });
        return leaveOnce(() => eventsOf(request.text).chunks.length > 1, request);
      },
      "left",
    ],
    "left at once": [
      () => {
        const request = ask({});
        return leaveOnce(() => request.socket.bytesWritten > 0, request);
      },
      "left",
    ],
    "a bad request": [() => endOf(ask({ more: { temperature: 3 } })), 400],
    "one that the engine finds bad": [() => endOf(ask({ most: 100_000 })), 400],
    "no such model": [() => endOf(ask({ model: "none" })), 404],
  };

  test(`of ${requests} none is refused, however those before it ended`, async () => {
    const names = Object.keys(ways);
    let former = "none";
    for (let at = 0; at < requests; at++) {
      // Each once, then by chance.
      const name = names[at < names.length ? at : random.below(names.length)] ?? "";
      const [run, ...ends] = ways[name] ?? [];
      const end = await run?.();
      expect(ends, `request ${at}: ${name}, after ${former}`).toContain(end);
      former = name;
    }
    await become("the place is free", async () => (await limitStatus(weir, mine)).remaining === 1n);
    occupant?.leave();
    await eventually("the engine works for nobody who left", () => tail.open().length === 0);
  }, 3_600_000);
});
