import { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { endOf } from "../../fakes/record-tail.ts";
import { type Checker, type Join, type Joined, join } from "./join.ts";
import { limitCheckers } from "./limit-checkers.ts";
import type { Truth } from "./truth.ts";

/** The promises, each by its name. Those of limits are in a file of their own. */
export const checkers: Readonly<Record<string, Checker>> = {
  "what an engine saw, or a client got, is in the ledger": nothingLost,
  "what is in the ledger was asked for, once": nothingDoubled,
  "what is in the ledger has ended": allFinal,
  "every try that an engine saw is listed": triesListed,
  "what is billed lies between what was received and what was produced": billedBetween,
  "sums are those of the rows": sumsEqualRows,
  "no record was set aside": nothingSetAside,
  "no engine works for nobody": noOrphans,
  "a stream ends with a word, unless its process died": typedEnds,
  ...limitCheckers,
};

/** Every break of every promise. */
export function problemsOf(truth: Truth): readonly string[] {
  const joined = join(truth);
  return Object.entries(checkers).flatMap(([name, check]) =>
    check(truth, joined).map((problem) => `${name}: ${problem}`),
  );
}

function nothingLost(_truth: Truth, { requests, unknown }: Join): readonly string[] {
  return [
    ...requests
      .filter(({ row }) => row === undefined)
      .map(({ requestId, traces }) => `${requestId} (${traces.map(endOf).join(", ")}) is not`),
    ...unknown
      .filter(({ status, tokens }) => status === 200 || tokens > 0)
      .map(({ requestId, end }) => `${requestId ?? "one without an id"} (${end}) is not`),
  ];
}

function nothingDoubled(_truth: Truth, { requests, conflicts }: Join): readonly string[] {
  const phantoms = requests.filter(({ row, sight }) => row !== undefined && sight === undefined);
  return [...conflicts, ...phantoms.map(({ requestId }) => `nobody asked for ${requestId}`)];
}

function allFinal({ ledger }: Truth): readonly string[] {
  return ledger.rows
    .filter(({ stage }) => stage < 4)
    .map(({ requestId, stage }) => `${requestId} is at stage ${stage}`);
}

function triesListed(_truth: Truth, { requests }: Join): readonly string[] {
  return requests.flatMap(({ requestId, row, traces }) => {
    if (row === undefined || traces.length <= row.attempts) return [];
    return [`${requestId} was tried ${traces.length} times, and has ${row.attempts} tries`];
  });
}

function billedBetween(_truth: Truth, { requests }: Join): readonly string[] {
  return requests.flatMap((request) =>
    billingProblems(request).map((problem) => `${request.requestId} of ${request.row?.requestedModel}: ${problem}`),
  );
}

/** Of one request. */
function billingProblems({ row, sight, traces }: Joined): readonly string[] {
  if (row === undefined) return [];
  const { promptTokens: prompt, completionTokens: billed } = row;
  const last = traces.at(-1);
  const problems: string[] = [];
  const expect = (holds: boolean, problem: string) => void (holds || problems.push(problem));
  expect(billed >= (sight?.tokens ?? 0), `${billed} billed, and its client got ${sight?.tokens}`);
  expect(billed <= (last?.tokens ?? 0), `${billed} billed, and its engine made ${last?.tokens ?? "none"}`);
  if (traces.length === 0 && row.attempts === 0)
    expect(prompt === 0, `a prompt of ${prompt} billed, and no engine had it`);
  const ended = row.endReason;
  if (last !== undefined && ended !== EndReason.FAILED) expect(prompt > 0, "its prompt is not billed");
  if (ended === EndReason.COMPLETED) {
    expect(prompt === last?.promptTokens, `a prompt of ${prompt} billed, and it had ${last?.promptTokens}`);
    expect(billed === last?.tokens, `${billed} billed, and its engine made ${last?.tokens}`);
  }
  if (sight?.end === "whole") {
    expect(ended === EndReason.COMPLETED, `its client got all, and it ended as ${ended}`);
    expect(sight.told?.promptTokens === prompt, `a prompt of ${prompt} billed, and ${sight.told?.promptTokens} told`);
    expect(sight.told?.completionTokens === billed, `${billed} billed, and ${sight.told?.completionTokens} told`);
  }
  return problems;
}

function sumsEqualRows({ ledger: { rowSums, rollups } }: Truth): readonly string[] {
  const told = (sums: Truth["ledger"]["rowSums"]) => new Map(sums.map(({ of, ...sum }) => [of, JSON.stringify(sum)]));
  const [rows, kept] = [told(rowSums), told(rollups)];
  return [...new Set([...rows.keys(), ...kept.keys()])]
    .filter((of) => rows.get(of) !== kept.get(of))
    .map((of) => `${of}: the rows say ${rows.get(of) ?? "nothing"}, the sums ${kept.get(of) ?? "nothing"}`);
}

function nothingSetAside({ ledger: { setAside } }: Truth): readonly string[] {
  return setAside === 0 ? [] : [`${setAside} are in quarantine`];
}

function noOrphans({ traces }: Truth, { strangers }: Join): readonly string[] {
  return [
    ...traces.filter((trace) => endOf(trace) === undefined).map(({ id }) => `an engine still has ${id}`),
    ...strangers.map((id) => `an engine worked for ${id}, which is no request's`),
  ];
}

/** A client may notice a death so much later: what its kernel had received is read first. */
const noticedWithinMs = 2_000;

function typedEnds({ sights, deathsMs }: Truth, { requests }: Join): readonly string[] {
  const rows = new Map(requests.map(({ sight, row }) => [sight, row]));
  return sights.flatMap((sight) => {
    const { requestId = "one without an id", model, end, code, endedMs, sentMs } = sight;
    const row = rows.get(sight);
    const known = `${requestId} of ${model}, over after ${endedMs - sentMs} ms, in the ledger with end ${row?.endReason}`;
    if (end === "malformed") return [`${known}: it ended in no known way`];
    if (end === "failed" && !code) return [`${known}: an error without a code`];
    if (end !== "broken") return [];
    const died = deathsMs.some((diedMs) => endedMs >= diedMs && endedMs <= diedMs + noticedWithinMs);
    return died ? [] : [`${known}: it broke off (${code}), and no process had died`];
  });
}
