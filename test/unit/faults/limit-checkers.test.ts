import { describe, expect, test } from "vitest";
import { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { Event } from "../../../services/simulator/record.ts";
import type { Traced } from "../../fakes/record-tail.ts";
import { join } from "../../faults/campaign/join.ts";
import { limitCheckers } from "../../faults/campaign/limit-checkers.ts";
import type { Counting, Limited, Row, Sight, Truth } from "../../faults/campaign/truth.ts";

const id = (n: number) => `01a2164b-f831-710b-a54b-${String(n).padStart(12, "0")}`;

/** One request of a key: it is admitted at `atMs`, and is at its engine from 5 ms later until 5 ms before its end. */
interface Told {
  readonly n: number;
  readonly atMs: number;
  readonly longMs?: number;
  readonly end?: Event;
  readonly engine?: string;
  readonly row?: Partial<Row>;
  readonly sight?: Partial<Sight>;
}

const sightOf = ({ n, atMs, longMs = 100, sight }: Told): Sight => ({
  keyId: "key1",
  model: "wide",
  promptTokens: 10,
  wantedTokens: 5,
  sentMs: atMs - 2,
  headMs: atMs + 10,
  endedMs: atMs + longMs + 2,
  requestId: id(n),
  status: 200,
  tokens: 5,
  told: { promptTokens: 10, completionTokens: 5 },
  end: "whole",
  ...sight,
});

const rowOf = ({ n, atMs, longMs = 100, row }: Told): Row => ({
  requestId: id(n),
  keyId: "key1",
  projectId: "red",
  requestedModel: "wide",
  admitMs: atMs,
  stage: 4,
  promptTokens: 10,
  completionTokens: 5,
  endReason: EndReason.COMPLETED,
  attempts: 1,
  queueMs: 0,
  durationMs: longMs,
  ...row,
});

const traceOf = ({ n, atMs, longMs = 100, end = "finished", engine = "weir-sim" }: Told): Traced => ({
  id: `${id(n)}-1`,
  promptTokens: 10,
  model: engine,
  tokens: 5,
  at: new Map<Event, number>([
    ["received", atMs + 5],
    [end, atMs + longMs - 5],
  ]),
});

const limitOf = (of: Limited["of"], count: number, over: Partial<Limited> = {}): Limited => ({
  limitId: of,
  of,
  onFailure: "local",
  keyId: "key1",
  projectId: "red",
  count,
  refillMs: Number.POSITIVE_INFINITY,
  sinceMs: 900,
  ...over,
});

const ofProject = ({ keyId: _keyId, ...limit }: Limited): Limited => limit;

const calm: Counting = { diedMs: [], away: [] };
const standing = (used: number, remaining: number, reserved = 0, leased = 0) => ({ used, reserved, leased, remaining });

/** Four requests, of which two run together, and a fifth that was refused. */
const four: readonly Told[] = [
  { n: 1, atMs: 1_000 },
  { n: 2, atMs: 1_050 },
  { n: 3, atMs: 1_200 },
  { n: 4, atMs: 1_400 },
];
const refused = sightOf({
  n: 9,
  atMs: 1_500,
  longMs: 4,
  sight: { status: 429, end: "failed", code: "rate_limit_exceeded" },
});

const truthOf = (told: readonly Told[], limits: readonly Limited[], over: Partial<Truth> = {}): Truth => ({
  sights: [...told.map(sightOf), refused],
  traces: told.map(traceOf),
  ledger: { rows: told.map(rowOf), rowSums: [], rollups: [], setAside: 0 },
  deathsMs: [],
  limits,
  counting: calm,
  standings: new Map(),
  standingMs: 0,
  ...over,
});

const exact = [limitOf("requests", 4), limitOf("tokens", 60), limitOf("concurrency", 2, { keyId: "key2" })];
const standings = new Map([
  ["requests", standing(4, 0)],
  ["tokens", standing(60, 0)],
  ["concurrency", standing(0, 2)],
]);
const whole = truthOf(four, exact, { standings, standingMs: 30_000 });

const died: Counting = { ...calm, diedMs: [1_300] };
const away: Counting = { ...calm, away: [{ fromMs: 1_300, toMs: 5_000 }] };
const requests = (count: number, onFailure: Limited["onFailure"], counting: Counting = calm) =>
  truthOf(four, [limitOf("requests", count, { onFailure })], { counting });
const together = (told: readonly Told[], over: Partial<Truth> = {}, limit: Partial<Limited> = {}) =>
  truthOf(told, [limitOf("concurrency", 1, limit)], over);
/** What is said of a limit, after the four. */
const says = (told: readonly Told[], limit: Limited, said: ReturnType<typeof standing>, counting: Counting = calm) =>
  truthOf(told, [limit], { standings: new Map([[limit.limitId, said]]), standingMs: 30_000, counting });
const left = (n: number, over: Partial<Row>): Told => ({ n, atMs: 1_450, row: { endReason: EndReason.LOST, ...over } });
const refusedAs = (over: Partial<Sight>): Truth => ({
  ...whole,
  sights: [...four.map(sightOf), { ...refused, ...over }],
});

/** One that nobody had admitted when its connection was lost. */
const unborn: Sight = (() => {
  const { requestId: _id, status: _status, told: _told, headMs: _headMs, ...rest } = sightOf({ n: 8, atMs: 1_450 });
  return { ...rest, endedMs: 1_480, tokens: 0, end: "broken" };
})();

/** What breaks each promise, and what looks like it and does not. */
const worlds: Readonly<
  Record<keyof typeof limitCheckers, Readonly<Record<"bad" | "good", Readonly<Record<string, Truth>>>>>
> = {
  "a limit admits what it has, and no more": {
    bad: {
      "a request more": requests(3, "closed"),
      "a request more, of a project": truthOf(four, [ofProject(limitOf("requests", 3))]),
      "one more than two limits, when what was counted is gone": requests(1, "closed", died),
      "one more before anything happened": requests(2, "open", away),
      "what a limit that is closed has not, with nobody to ask": requests(3, "closed", away),
      "more than the share of who serves": truthOf(
        [...four, { n: 5, atMs: 1_600 }, { n: 6, atMs: 1_700 }, { n: 7, atMs: 1_800 }],
        [limitOf("requests", 3)],
        { counting: away },
      ),
      "more than refills": truthOf(four, [limitOf("requests", 2, { refillMs: 500_000 })]),
      "tokens beyond what nobody knew of the prompts": truthOf(four, [limitOf("tokens", 39)]),
    },
    good: {
      "a limit anew, when what was counted is gone": requests(3, "closed", died),
      "a share, with nobody to ask": requests(3, "local", away),
      "all, with nobody to ask": requests(3, "open", away),
      "what refills": truthOf(four, [limitOf("requests", 3, { refillMs: 1_000 })]),
      "what no engine was sent": truthOf([...four, { n: 5, atMs: 1_450, row: { attempts: 0 } }], exact.slice(0, 1), {
        traces: four.map(traceOf),
      }),
      "prompts that were longer than anybody knew": truthOf(four, [limitOf("tokens", 45)]),
      "another key's": truthOf(four, [limitOf("requests", 3, { keyId: "key2" })]),
    },
  },
  "no more run at once than a limit lets": {
    bad: {
      two: together(four),
      "two, of which one was cancelled and ran on": together([
        { n: 1, atMs: 1_000, longMs: 3_000, end: "cancelled", row: { durationMs: 100 } },
        { n: 2, atMs: 1_500 },
      ]),
      "two, before nobody could be asked": together(
        four,
        { counting: { ...calm, away: [{ fromMs: 1_399, toMs: 5_000 }] } },
        { onFailure: "open" },
      ),
      "three, of two limits": together([...four, { n: 5, atMs: 1_060 }], { counting: { ...calm, diedMs: [1_001] } }),
      "one that is closed, with nobody to ask": together(
        four,
        { counting: { ...calm, away: [{ fromMs: 1_001, toMs: 5_000 }] } },
        { onFailure: "closed" },
      ),
    },
    good: {
      "one after the other": together([four[0] as Told, { n: 2, atMs: 1_100 }]),
      "one that was cancelled, and stopped in time": together([
        { n: 1, atMs: 1_000, longMs: 300, end: "cancelled", row: { durationMs: 100 } },
        { n: 2, atMs: 1_100 },
      ]),
      "an ensemble, which can't be stopped": together([
        { n: 1, atMs: 1_000, longMs: 3_000, engine: "ensemble", row: { durationMs: 100 } },
        { n: 2, atMs: 1_100 },
      ]),
      "one whose process died": together(
        [
          { n: 1, atMs: 1_000, longMs: 300, end: "cancelled", row: { endReason: EndReason.LOST } },
          { n: 2, atMs: 1_100 },
        ],
        { deathsMs: [1_090] },
      ),
      "two of two limits": together(four, { counting: { ...calm, diedMs: [1_001] } }),
    },
  },
  "who is refused by a limit leaves nothing behind": {
    bad: {
      "a row": refusedAs({ requestId: id(4) }),
      "work at an engine": { ...refusedAs({ requestId: id(4) }), ledger: { ...whole.ledger, rows: [] } },
      "one that was not checked": refusedAs({ requestId: id(4), status: 503, code: "store_unavailable" }),
      "nobody knows what": (() => {
        const { requestId: _id, ...nameless } = refused;
        return { ...whole, sights: [...four.map(sightOf), nameless] };
      })(),
    },
    good: { "an engine that is full": refusedAs({ requestId: id(4), status: 503, code: "server_overloaded" }) },
  },
  "a limit refuses only what it has not": {
    bad: {
      "there was one more": requests(5, "local"),
      "a place was free": together(four, {}, { count: 2 }),
      "nothing was away": refusedAs({ status: 503, code: "store_unavailable" }),
      "it was away before": {
        ...refusedAs({ status: 503, code: "store_unavailable" }),
        counting: { ...calm, away: [{ fromMs: 1, toMs: 1_490 }] },
      },
    },
    good: {
      "all places were taken": together([...four, { n: 5, atMs: 1_490 }], {}, { count: 1 }),
      "a place was taken by who died there": together([
        { n: 1, atMs: 1_000, row: { endReason: EndReason.LOST, durationMs: 0 } },
      ]),
      "a place was taken by who died before it was in the ledger": {
        ...together([]),
        sights: [unborn, { ...refused, sentMs: 1_470, endedMs: 1_475 }],
      },
      "it was away": { ...refusedAs({ status: 503, code: "store_unavailable" }), limits: [], counting: away },
      "a node had died with its part": { ...requests(5, "local"), deathsMs: [1_300] },
    },
  },
  "limits have counted what the ledger has": {
    bad: {
      "one less": says(four, limitOf("requests", 9), standing(3, 6)),
      "one more": says(four, limitOf("requests", 9), standing(5, 4)),
      "a token less": says(four, limitOf("tokens", 90), standing(59, 31)),
      "a place that is taken": says(four, limitOf("concurrency", 2), standing(0, 1)),
      "something is reserved": says(four, limitOf("requests", 9), standing(4, 4, 1)),
      "something is leased": says(four, limitOf("requests", 9), standing(4, 4, 0, 1)),
      "it is gone": { ...whole, limits: [limitOf("requests", 4, { limitId: "other" })] },
      "more than all, although what was counted is gone": says(four, limitOf("requests", 9), standing(5, 4), died),
      "more than was set aside for who died": says([...four, left(5, {})], limitOf("tokens", 200), standing(101, 99)),
      "one who died, and had gone to an engine, is not counted": says(
        [...four, left(5, {})],
        limitOf("requests", 9),
        standing(4, 5),
      ),
      "more than was set aside for who died before it was admitted": {
        ...says(four, limitOf("tokens", 200), standing(86, 114)),
        sights: [...four.map(sightOf), unborn],
        deathsMs: [1_470],
      },
      "it counts who was not admitted, and nobody died": {
        ...says(four, limitOf("requests", 9), standing(5, 4)),
        sights: [...four.map(sightOf), unborn],
      },
      "more drained than could": says(four, limitOf("requests", 9, { refillMs: 1_000_000 }), standing(2, 7)),
    },
    good: {
      "less, when what was counted is gone": says(four, limitOf("requests", 9), standing(1, 8), died),
      "what was set aside for who died": says([...four, left(5, {})], limitOf("tokens", 200), standing(100, 100)),
      "what was set aside for who died before it was admitted": {
        ...says(four, limitOf("tokens", 200), standing(85, 115)),
        sights: [...four.map(sightOf), unborn],
        deathsMs: [1_470],
      },
      "what drained": says(four, limitOf("requests", 9, { refillMs: 1_000_000 }), standing(3, 6)),
      "it was not asked": { ...whole, standings: new Map() },
    },
  },
};

describe("checkers of limits", () => {
  const problemsOf = (promise: string, truth: Truth) => limitCheckers[promise]?.(truth, join(truth));
  const cases = (kind: "bad" | "good") =>
    Object.entries(worlds).flatMap(([promise, { [kind]: some }]) =>
      Object.entries({ ...some, ...(kind === "good" ? { "all is well": whole } : {}) }).map(([what, truth]) => ({
        promise,
        what,
        truth,
      })),
    );

  test.each(cases("good"))("$promise: it is kept by $what", ({ promise, truth }) => {
    expect(problemsOf(promise, truth)).toEqual([]);
  });

  test.each(cases("bad"))("$promise: it sees $what", ({ promise, truth }) => {
    expect(problemsOf(promise, truth)).not.toEqual([]);
  });

  test("have broken worlds each", () => {
    expect(Object.keys(worlds)).toEqual(Object.keys(limitCheckers));
  });
});
