import { create, fromJson, type JsonObject } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { expect, test } from "vitest";
import { LimitSpecSchema } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { ReserveRequestSchema } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { UsageQuerySchema } from "../../gen/ts/weir/usage/v1/usage_query_pb.ts";

const validator = createValidator();

const tokensPerMinute: JsonObject = {
  name: "tokens a minute",
  subject: { kind: "SUBJECT_KIND_PROJECT", id: "search" },
  dimension: "DIMENSION_TOTAL_TOKENS",
  count: "100000",
  rate: { per: "60s" },
};

const monthlyMoney: JsonObject = {
  name: "money a month",
  subject: { kind: "SUBJECT_KIND_ORG", id: "acme" },
  dimension: "DIMENSION_COST",
  costNanos: "500000000000",
  currency: "USD",
  budget: { period: "CALENDAR_PERIOD_MONTH", timeZone: "Europe/Paris" },
};

const atOnce: JsonObject = {
  name: "eight at once",
  subject: { kind: "SUBJECT_KIND_INSTALLATION" },
  dimension: "DIMENSION_CONCURRENT_REQUESTS",
  count: "8",
};

test.each([
  ["a rate of tokens", tokensPerMinute],
  ["a budget of money", monthlyMoney],
  ["requests at once", atOnce],
  ["a limit that allows none", { ...atOnce, count: "0" }],
  ["some models", { ...tokensPerMinute, models: ["qwen-*", "llama-3"] }],
])("%s is a limit", (_name, json) => {
  expect(violations(json)).toEqual([]);
});

test.each([
  ["money counted in units", { ...tokensPerMinute, dimension: "DIMENSION_COST" }, "limit_spec.ceiling_fits_dimension"],
  ["money without a currency", { ...monthlyMoney, currency: "" }, "limit_spec.ceiling_fits_dimension"],
  ["tokens in a currency", { ...tokensPerMinute, currency: "USD" }, "limit_spec.ceiling_fits_dimension"],
  ["requests at once in a window", { ...atOnce, rate: { per: "60s" } }, "limit_spec.window_fits_dimension"],
  ["requests without a window", { ...atOnce, dimension: "DIMENSION_REQUESTS" }, "limit_spec.window_fits_dimension"],
  ["a project without an id", { ...atOnce, subject: { kind: "SUBJECT_KIND_PROJECT" } }, "subject.id_fits_kind"],
  ["a rate of no time", { ...tokensPerMinute, rate: { per: "0s" } }, "duration.gte_lte"],
  ["no ceiling", { ...atOnce, count: null }, "required"],
  ["a negative ceiling", { ...atOnce, count: "-1" }, "int64.gte_lte"],
])("%s is no limit", (_name, json, rule) => {
  expect(violations(json)).toContain(rule);
});

test("a reservation names the request, whose it is and what it needs", () => {
  const result = validator.validate(ReserveRequestSchema, create(ReserveRequestSchema));
  const fields = result.violations?.map((violation) => violation.field.map((part) => "name" in part && part.name)[0]);
  expect(fields).toEqual(
    expect.arrayContaining(["request_id", "node_id", "consumer", "model", "operation", "estimate", "least"]),
  );
});

test("a usage query that ends before it begins is refused", () => {
  const query = fromJson(UsageQuerySchema, { startTime: "2026-02-01T00:00:00Z", endTime: "2026-01-01T00:00:00Z" });
  expect(validator.validate(UsageQuerySchema, query).violations?.map((violation) => violation.ruleId)).toEqual([
    "usage_query.times",
  ]);
});

function violations(json: JsonObject): string[] {
  const result = validator.validate(LimitSpecSchema, fromJson(LimitSpecSchema, json));
  if (result.kind === "error") throw result.error;
  return (result.violations ?? []).map((violation) => violation.ruleId);
}
