import { describe, expect, test } from "vitest";
import { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { Event } from "../../../services/simulator/record.ts";
import type { Traced } from "../../fakes/record-tail.ts";
import { checkers, problemsOf } from "../../faults/campaign/checkers.ts";
import { join } from "../../faults/campaign/join.ts";
import { limitCheckers } from "../../faults/campaign/limit-checkers.ts";
import { serviceProblems } from "../../faults/campaign/service.ts";
import { type Row, type Sight, type Truth, tokensIn } from "../../faults/campaign/truth.ts";

const id = (n: number) => `01a2164b-f831-710b-a54b-${String(n).padStart(12, "0")}`;

const sight = (n: number, over: Partial<Sight> = {}): Sight => ({
  keyId: "key1",
  model: "wide",
  promptTokens: 10 + n,
  wantedTokens: 5,
  sentMs: n * 1_000,
  headMs: n * 1_000 + 20,
  endedMs: n * 1_000 + 500,
  requestId: id(n),
  status: 200,
  tokens: 5,
  told: { promptTokens: 10 + n, completionTokens: 5 },
  end: "whole",
  ...over,
});

const row = (n: number, over: Partial<Row> = {}): Row => ({
  requestId: id(n),
  keyId: "key1",
  projectId: "red",
  requestedModel: "wide",
  admitMs: n * 1_000 + 2,
  stage: 4,
  promptTokens: 10 + n,
  completionTokens: 5,
  endReason: EndReason.COMPLETED,
  attempts: 1,
  queueMs: 0,
  durationMs: 450,
  ...over,
});

const trace = (n: number, over: Partial<Omit<Traced, "at">> = {}, end: Event | "none" = "finished"): Traced => ({
  id: `${id(n)}-1`,
  promptTokens: 10 + n,
  model: "weir-sim",
  tokens: 5,
  at: new Map<Event, number>([
    ["received", n * 1_000 + 5],
    ["produced", n * 1_000 + 10],
    ...(end !== "none" ? ([[end, n * 1_000 + 400]] as const) : []),
  ]),
  ...over,
});

const sum = { of: "series 12:00", requests: 2, failedRequests: 1, promptTokens: 23, completionTokens: 8 };

/** A client that got all, and one whose process died while it streamed. */
const whole: Truth = {
  sights: [
    sight(1),
    sight(2, { requestId: id(2), tokens: 2, end: "broken", endedMs: 2_301 }),
    // One that left before anybody had heard of it.
    {
      keyId: "key1",
      model: "wide",
      promptTokens: 13,
      wantedTokens: 5,
      sentMs: 3_000,
      endedMs: 3_001,
      tokens: 0,
      end: "left",
    },
  ],
  traces: [trace(1), trace(2, { tokens: 4 }, "cancelled")],
  ledger: {
    rows: [row(1), row(2, { completionTokens: 3, endReason: EndReason.LOST })],
    rowSums: [sum],
    rollups: [sum],
    setAside: 0,
  },
  deathsMs: [2_300],
  limits: [],
  counting: { diedMs: [], away: [] },
  standings: new Map(),
  standingMs: 0,
};

const withRows = (...rows: Row[]): Truth => ({ ...whole, ledger: { ...whole.ledger, rows } });
const [first, second] = whole.ledger.rows as [Row, Row];
const [seen, cut] = whole.sights as [Sight, Sight];
const [done, stopped] = whole.traces as [Traced, Traced];

/** Whose broken worlds are in `limit-checkers.test.ts`. */
const limitPromises = Object.keys(limitCheckers);

/** What breaks each promise. */
const broken: Readonly<Record<string, Readonly<Record<string, Truth>>>> = {
  "what an engine saw, or a client got, is in the ledger": {
    "an engine's request is not": withRows(first),
    "an answer is not, and no engine has it either": { ...withRows(second), traces: [stopped] },
  },
  "what is in the ledger was asked for, once": {
    "two rows have one id": withRows(first, first, second),
    "a row that nobody asked for": withRows(first, second, row(7, { keyId: "key2" })),
    "a second row for one request": withRows(first, second, row(8, { admitMs: 1_003 })),
    "a row of another key": withRows({ ...first, keyId: "key2" }, second),
    "a row of another model": withRows({ ...first, requestedModel: "narrow" }, second),
  },
  "what is in the ledger has ended": { "a row that runs": withRows(first, { ...second, stage: 2 }) },
  "every try that an engine saw is listed": {
    "a try more": { ...whole, traces: [{ ...done, id: `${id(1)}-1` }, { ...done, id: `${id(1)}-2` }, stopped] },
  },
  "what is billed lies between what was received and what was produced": {
    "less than the client got": withRows(first, { ...second, completionTokens: 1 }),
    "more than the engine made": withRows(first, { ...second, completionTokens: 5 }),
    "a token more than a whole answer": withRows({ ...first, completionTokens: 6 }, second),
    "another prompt": withRows({ ...first, promptTokens: 12 }, second),
    "no prompt": withRows(first, { ...second, promptTokens: 0 }),
    "a prompt that no engine had": withRows(
      first,
      second,
      row(3, { completionTokens: 0, attempts: 0, endReason: EndReason.LOST }),
    ),
    "other counts than the client was told": {
      ...whole,
      sights: [sight(1, { told: { promptTokens: 11, completionTokens: 4 } }), cut],
    },
    "an end that is not the client's": withRows({ ...first, endReason: EndReason.CANCELLED }, second),
  },
  "sums are those of the rows": {
    "a sum twice": { ...whole, ledger: { ...whole.ledger, rollups: [{ ...sum, requests: 4 }] } },
    "no sum": { ...whole, ledger: { ...whole.ledger, rollups: [] } },
    "a sum of nothing": { ...whole, ledger: { ...whole.ledger, rollups: [sum, { ...sum, of: "other" }] } },
  },
  "no record was set aside": { "one is": { ...whole, ledger: { ...whole.ledger, setAside: 1 } } },
  "no engine works for nobody": {
    "one works on": { ...whole, traces: [done, trace(2, { tokens: 4 }, "none")] },
    "one worked for a stranger": { ...whole, traces: [done, stopped, { ...done, id: "sim-7" }] },
  },
  "a stream ends with a word, unless its process died": {
    "it broke off before the death": { ...whole, sights: [seen, { ...cut, endedMs: 2_299 }] },
    "it ended without a word": { ...whole, sights: [{ ...seen, end: "malformed" }, cut] },
    "an error without a code": { ...whole, sights: [{ ...seen, end: "failed", code: "" }, cut] },
  },
};

describe("checkers of what must hold when things break", () => {
  test("find nothing where all is well", () => {
    expect(problemsOf(whole)).toEqual([]);
  });

  const cases = Object.entries(broken).flatMap(([promise, worlds]) =>
    Object.entries(worlds).map(([what, truth]) => ({ promise, what, truth })),
  );
  test.each(cases)("$promise: it sees $what", ({ promise, truth }) => {
    expect(checkers[promise]?.(truth, join(truth))).not.toEqual([]);
  });

  test("have a broken world each", () => {
    expect(Object.keys(broken)).toEqual(Object.keys(checkers).filter((promise) => !limitPromises.includes(promise)));
  });
});

test("requests that were told no id are found by their key, their prompt's length, and their model", () => {
  const nameless = (n: number, over: Partial<Sight>): Sight => {
    const {
      requestId: _id,
      headMs: _headMs,
      status: _status,
      told: _told,
      ...rest
    } = sight(n, { end: "left", tokens: 0 });
    return { ...rest, ...over };
  };
  // The second was sent before the first was admitted.
  const sights = [
    nameless(1, { sentMs: 1_000, endedMs: 1_001 }),
    nameless(2, { sentMs: 1_002 }),
    nameless(3, { sentMs: 1_003, model: "narrow" }),
  ];
  const rows = [
    row(1, { admitMs: 1_010 }),
    row(2, { admitMs: 1_011 }),
    row(3, { admitMs: 1_012, requestedModel: "narrow" }),
  ];
  const { requests, unknown } = join({
    ...whole,
    sights,
    traces: [trace(1), trace(2)],
    ledger: { ...whole.ledger, rows },
  });
  expect(requests.map((one) => one.sight?.promptTokens)).toEqual([11, 12, 13]);
  expect(unknown).toEqual([]);
});

test("service goes on: a failure that is not the client's own is seen, from when its key is known", () => {
  const after = (over: Partial<Sight>) => serviceProblems([seen, sight(2, over)], 1_600);
  expect(after({ end: "failed", code: "timeout" })).toEqual([]);
  expect(after({ end: "failed", code: "upstream_error", model: "frail" })).toEqual([]);
  expect(after({ end: "left" })).toEqual([]);
  expect(after({ end: "failed", code: "auth_unavailable" })).toHaveLength(1);
  expect(after({ end: "broken" })).toHaveLength(1);
  expect(after({ end: "broken", keyId: "key2" })).toEqual([]);
  expect(serviceProblems([seen, sight(2, { end: "broken" })], 2_001)).toEqual([]);
});

test("tokens are counted in a text as the simulator's vocabulary has them", () => {
  expect(tokensIn(" the river, runs.\n")).toBe(6);
  expect(tokensIn(" dam é水🌊")).toBe(1 + 2 + 3 + 4);
  expect(tokensIn("")).toBe(0);
});
