import { expect, test } from "vitest";
import { isUnavailable, isUniqueViolation } from "../../../services/runtime/postgres/sqlstate.ts";
import { orUnavailable } from "../../../services/runtime/postgres/unavailable.ts";

const withCode = (code: string) => Object.assign(new Error("refused"), { code });

test.each<[string, unknown, boolean]>([
  ["connection failure", withCode("08006"), true],
  ["disk full", withCode("53100"), true],
  ["too many connections", withCode("53300"), true],
  ["statement cancelled by its timeout", withCode("57014"), true],
  ["administrator shutdown", withCode("57P01"), true],
  ["crash shutdown", withCode("57P02"), true],
  ["starting up", withCode("57P03"), true],
  ["I/O error", withCode("58030"), true],
  ["read-only after a fail-over", withCode("25006"), true],
  ["idle in a transaction for too long", withCode("25P03"), true],
  ["lock not available in time", withCode("55P03"), true],
  ["socket refused", withCode("ECONNREFUSED"), true],
  ["socket file gone", withCode("ENOENT"), true],
  ["no answer in time", new Error("Query read timeout"), true],
  ["no connection in time", new Error("timeout exceeded when trying to connect"), true],
  ["connection lost", new Error("Connection terminated unexpectedly"), true],
  ["every address refused", new AggregateError([withCode("ECONNREFUSED")]), true],
  ["wrapped outage", new Error("could not migrate", { cause: withCode("57P01") }), true],
  ["unique violation", withCode("23505"), false],
  ["syntax error", withCode("42601"), false],
  ["wrong password", withCode("28P01"), false],
  ["serialization failure", withCode("40001"), false],
  ["a code that only looks like a class", withCode("08"), false],
  ["a defect", new TypeError("x is not a function"), false],
  ["no error at all", "Query read timeout", false],
])("%s: an outage? %s", (_name, error, expected) => {
  expect(isUnavailable(error)).toBe(expected);
});

test("a unique violation is told from other broken rules", () => {
  expect([withCode("23505"), withCode("23503"), new Error("23505")].map(isUniqueViolation)).toEqual([
    true,
    false,
    false,
  ]);
});

test("an outage becomes a value, a defect stays an error", async () => {
  const outage = withCode("57P01");
  expect(await orUnavailable(Promise.resolve(7))).toBe(7);
  expect(await orUnavailable(Promise.reject(outage))).toEqual({ kind: "store_unavailable", cause: outage });
  await expect(orUnavailable(Promise.reject(withCode("42601")))).rejects.toThrow("refused");
});
