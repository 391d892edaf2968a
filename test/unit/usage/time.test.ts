import { expect, test } from "vitest";
import { WeirError } from "../../../services/runtime/errors/fail.ts";
import { createIdSource } from "../../../services/runtime/ids.ts";
import { isTimeZone } from "../../../services/runtime/time-zone.ts";
import { fingerprintOf, pageToken, partsOf } from "../../../services/usage/page-token.ts";
import {
  idBounds,
  keptFromMs,
  monthAt,
  monthNamed,
  monthsFrom,
  monthsNeeded,
} from "../../../services/usage/partitions.ts";
import { isRequestId, leastIdAt, msOfRequestId } from "../../../services/usage/request-id.ts";
import { rounded, tooMany } from "../../../services/usage/steps.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

test.each([0, 1, Date.UTC(2026, 10, 30, 23, 59, 59, 999), 2 ** 48 - 1])("an id tells its time: %i", (ms) => {
  const ids = createIdSource({
    clock: new SimulatedClock(ms),
    randomBytes: (length) => new Uint8Array(length).fill(255),
  });
  const id = ids.uuidv7();
  expect(isRequestId(id)).toBe(true);
  expect(msOfRequestId(id)).toBe(ms);
  expect(leastIdAt(ms) <= id).toBe(true);
  if (ms < 2 ** 48 - 1) expect(leastIdAt(ms + 1) > id).toBe(true);
});

test("months meet without a gap, in leap years too", () => {
  const months = monthsFrom(Date.UTC(2023, 10, 30), Date.UTC(2024, 2, 1));
  expect(months.map(({ name }) => name)).toEqual(["2023_11", "2023_12", "2024_01", "2024_02", "2024_03"]);
  for (const [at, month] of months.entries()) {
    expect(monthNamed(month.name)).toEqual(month);
    expect(monthAt(month.endMs - 1)).toEqual(month);
    const next = months[at + 1];
    if (next) expect(idBounds(next)[0]).toBe(idBounds(month)[1]);
  }
  expect(monthNamed("2026_1")).toBeUndefined();
});

test("partitions are there a week before their time", () => {
  const names = (ms: number) => monthsNeeded(ms).map(({ name }) => name);
  expect(names(Date.UTC(2026, 2, 15))).toEqual(["2026_03"]);
  expect(names(Date.UTC(2026, 2, 25))).toEqual(["2026_03", "2026_04"]);
  expect(names(Date.UTC(2026, 3, 3))).toEqual(["2026_03", "2026_04"]);
});

test("whole months are kept, those that hold anything young enough", () => {
  expect(keptFromMs(Date.UTC(2026, 3, 15), 86_400_000)).toBe(Date.UTC(2026, 3, 1));
  expect(keptFromMs(Date.UTC(2026, 3, 1), 86_400_000)).toBe(Date.UTC(2026, 2, 1));
  expect(keptFromMs(0, 86_400_000)).toBe(0);
});

test("times are rounded outwards, and those that fit stay", () => {
  expect(rounded(61_000, 119_000, "minute")).toEqual([60_000, 120_000]);
  expect(rounded(3_600_000, 7_200_000, "hour")).toEqual([3_600_000, 7_200_000]);
  expect(rounded(1, 2, "all")).toEqual([0, 900_000]);
});

test("10,000 steps are allowed, and no more", () => {
  expect(tooMany(0, 10_000 * 60_000, "minute")).toBe(false);
  expect(tooMany(0, 10_000 * 60_000 + 1, "minute")).toBe(true);
  expect(tooMany(0, Date.UTC(9999, 0), "month")).toBe(true);
  expect(tooMany(0, Date.UTC(9999, 0), "all")).toBe(false);
});

test("time zones are the IANA's", () => {
  for (const zone of ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/Argentina/Buenos_Aires", "Etc/GMT+5"]) {
    expect(isTimeZone(zone)).toBe(true);
  }
  for (const zone of ["", "+05:30", "-5", "Mars/Olympus", "posixrules"]) expect(isTimeZone(zone)).toBe(false);
});

test("a token is good for its own request", () => {
  const mine = fingerprintOf("mine", Buffer.from("query"));
  const parts = ["1775000000000", "模型", ""];
  expect(partsOf(pageToken(mine, parts), mine, 3)).toEqual(parts);
  expect(partsOf("", mine, 3)).toBeUndefined();
  const others = [
    () => partsOf(pageToken(fingerprintOf("theirs", Buffer.from("query")), parts), mine, 3),
    () => partsOf(pageToken(fingerprintOf("mine", Buffer.from("another")), parts), mine, 3),
    () => partsOf(pageToken(mine, ["1"]), mine, 3),
    () => partsOf("!!!", mine, 3),
  ];
  for (const other of others) expect(other).toThrow(WeirError);
});
