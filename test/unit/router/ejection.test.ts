import { describe, expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { engineError } from "../../../services/drivers/failure.ts";
import { engineErrorIn, failureFromError } from "../../../services/drivers/openai/errors.ts";
import { fail, type WeirError } from "../../../services/runtime/errors/fail.ts";
import { blamesReplica, isDeath, looksLikeCrash, mayTryAnother } from "../../../services/router/failover.ts";
import { afterFailure, afterSuccess, clean, isEjected } from "../../../services/router/fleet/ejection.ts";

function failures(count: number, nowMs: number, from = clean) {
  let record = from;
  for (let index = 0; index < count; index++) record = afterFailure(record, nowMs);
  return record;
}

describe("a replica is ejected for failures in a row", () => {
  test("at the fifth, for 5 s", () => {
    expect(isEjected(failures(4, 1_000), 1_000)).toBe(false);
    const record = failures(5, 1_000);
    expect(isEjected(record, 5_999)).toBe(true);
    expect(isEjected(record, 6_000)).toBe(false);
  });

  test("a success between them clears the count", () => {
    const record = failures(4, 0, afterSuccess(failures(4, 0)));
    expect(isEjected(record, 0)).toBe(false);
  });

  test("on trial, one failure ejects again, for twice as long, at most 60 s", () => {
    let record = failures(5, 0);
    const lengths: number[] = [];
    for (let round = 0; round < 6; round++) {
      const nowMs = record.ejectedUntilMs;
      record = afterFailure(record, nowMs);
      lengths.push(record.ejectedUntilMs - nowMs);
    }
    expect(lengths).toEqual([10_000, 20_000, 40_000, 60_000, 60_000, 60_000]);
  });

  test("requests that were running when it was ejected do not make it longer", () => {
    const record = failures(5, 0);
    expect(failures(50, 100, record).ejectedUntilMs).toBe(record.ejectedUntilMs);
  });

  test("a success on trial forgets all", () => {
    expect(afterSuccess(failures(5, 0))).toEqual(clean);
  });
});

describe("what a failure says", () => {
  const {
    ANSWER_TOO_LARGE,
    CONTEXT_LENGTH_EXCEEDED,
    ENGINE_CREDENTIAL,
    ENGINE_FAILED,
    ENGINE_OVERLOADED,
    ENGINE_PROTOCOL,
  } = ErrorReason;
  const { ENGINE_REFUSED, ENGINE_TIMEOUT, ENGINE_TRUNCATED, ENGINE_UNAVAILABLE, INVALID_ARGUMENT, UNSUPPORTED } =
    ErrorReason;
  const rows: readonly [string, ErrorReason, boolean, boolean][] = [
    ["it is gone", ENGINE_UNAVAILABLE, true, true],
    ["it is full", ENGINE_OVERLOADED, true, true],
    ["it is silent", ENGINE_TIMEOUT, true, true],
    ["it fails", ENGINE_FAILED, true, true],
    ["it speaks nonsense", ENGINE_PROTOCOL, true, true],
    ["it stops half-way", ENGINE_TRUNCATED, true, true],
    ["it does not know us", ENGINE_CREDENTIAL, true, false],
    ["it refuses the request", ENGINE_REFUSED, false, false],
    ["the prompt is too long", CONTEXT_LENGTH_EXCEEDED, false, false],
    ["the answer is too long", ANSWER_TOO_LARGE, false, false],
    ["the request is wrong", INVALID_ARGUMENT, false, false],
    ["the request wants too much", UNSUPPORTED, false, false],
  ];
  const fresh = { attempts: 1, attemptsMax: 3, committed: false, crashes: 0 };
  test.each(rows)("%s", (_name, reason, blames, another) => {
    const error = fail(reason);
    expect(blamesReplica(error)).toBe(blames);
    expect(mayTryAnother(error, fresh)).toBe(another);
  });

  test("no other try after a piece, after the last try, or after two crashes", () => {
    const gone = fail(ENGINE_UNAVAILABLE);
    expect(mayTryAnother(gone, { ...fresh, committed: true })).toBe(false);
    expect(mayTryAnother(gone, { ...fresh, attempts: 3 })).toBe(false);
    expect(mayTryAnother(gone, { ...fresh, crashes: 2 })).toBe(false);
  });

  test.each<[string, WeirError, { death: boolean; crash: boolean }]>([
    ["its connection broke", fail(ENGINE_UNAVAILABLE, { phase: "running" }), { death: true, crash: true }],
    ["it can't be reached", fail(ENGINE_UNAVAILABLE), { death: false, crash: false }],
    ["it says in its stream that another was too slow", said(504), { death: false, crash: false }],
    ["it says in its stream that another was away", said(502), { death: false, crash: false }],
    ["it ends too early", fail(ENGINE_TRUNCATED), { death: false, crash: true }],
    ["it is full", fail(ENGINE_OVERLOADED), { death: false, crash: false }],
  ])("%s: a death is to go away with the request", (_name, error, { death, crash }) => {
    expect([isDeath(error), looksLikeCrash(error)]).toEqual([death, crash]);
  });
});

/** `data: {"error": {"code": 504}}` in a stream that began well. */
function said(code: number): WeirError {
  const told = engineErrorIn({ error: { message: "upstream request failed", type: "server_error", code } });
  if (!told) throw new Error("no error was found");
  return engineError(failureFromError(told), "m", undefined);
}
