import { describe, expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { blamesReplica, looksLikeCrash, mayTryAnother } from "../../../services/router/failover.ts";
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

  test("a crash is to go away with the request taken", () => {
    expect(looksLikeCrash(fail(ENGINE_UNAVAILABLE), true)).toBe(true);
    expect(looksLikeCrash(fail(ENGINE_UNAVAILABLE), false)).toBe(false);
    expect(looksLikeCrash(fail(ENGINE_UNAVAILABLE, { phase: "running" }), false)).toBe(true);
    expect(looksLikeCrash(fail(ENGINE_TRUNCATED), false)).toBe(true);
    expect(looksLikeCrash(fail(ENGINE_OVERLOADED), true)).toBe(false);
  });
});
