import { clone, create, toJson } from "@bufbuild/protobuf";
import { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import {
  BudgetSchema,
  Dimension,
  type LimitSpec,
  LimitSpecSchema,
  RateSchema,
  SubjectKind,
} from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { UpdateLimitRequest } from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import { checkText, fingerprintOf, invalid } from "../runtime/arguments.ts";
import type { WeirError } from "../runtime/errors/fail.ts";
import { violationOf } from "../runtime/policy/validation.ts";
import { isTimeZone } from "../runtime/time-zone.ts";

/** What may be changed of a limit. */
export const changeable = [
  "name",
  "models",
  "operations",
  "count",
  "cost_nanos",
  "rate",
  "budget",
  "mode",
  "on_failure",
  "overrun",
] as const;

export type ChangeableField = (typeof changeable)[number];

/** What the contract's own rules can't say. Throws INVALID_ARGUMENT; `at` is where the spec stands in the request. */
export function checkSpec(spec: LimitSpec, at: "spec." | ""): void {
  checkText(`${at}name`, spec.name);
  if (spec.dimension === Dimension.COST) {
    throw invalid(
      `${at}dimension`,
      "no model has a price so far, so that a limit on money would count nothing; limit tokens",
    );
  }
  const { window } = spec;
  if (window.case === "budget" && window.value.timeZone !== "" && !isTimeZone(window.value.timeZone)) {
    throw invalid(`${at}budget.time_zone`, "there is no such time zone; write one of IANA's, such as Europe/Paris");
  }
  if (window.case === "rate" && window.value.burst > 0n && spec.ceiling.value === 0n) {
    throw invalid(`${at}rate.burst`, "a limit that allows none has no burst");
  }
}

/** The spec with the masked fields of the request. Throws INVALID_ARGUMENT if it would contradict itself. */
export function changedSpec(
  current: LimitSpec,
  request: UpdateLimitRequest,
  fields: ReadonlySet<ChangeableField>,
): LimitSpec {
  const spec = clone(LimitSpecSchema, current);
  for (const field of fields) change(spec, request, field);
  const violation = violationOf(LimitSpecSchema, spec);
  if (violation) throw violation;
  checkSpec(spec, "");
  return spec;
}

function change(spec: LimitSpec, request: UpdateLimitRequest, field: ChangeableField): void {
  switch (field) {
    case "name":
      spec.name = request.name;
      return;
    case "models":
      spec.models = [...request.models];
      return;
    case "operations":
      spec.operations = [...request.operations];
      return;
    case "count":
      if (spec.ceiling.case !== "count") throw ofAnother("count", "a limit on cost has cost_nanos");
      spec.ceiling = { case: "count", value: request.count };
      return;
    case "cost_nanos":
      if (spec.ceiling.case !== "costNanos") throw ofAnother("cost_nanos", "only a limit on cost has it");
      spec.ceiling = { case: "costNanos", value: request.costNanos };
      return;
    case "rate":
      if (spec.window.case !== "rate") throw ofAnother("rate", "the limit has none");
      if (request.rate === undefined) throw notSet("rate");
      spec.window = { case: "rate", value: clone(RateSchema, request.rate) };
      return;
    case "budget":
      if (spec.window.case !== "budget") throw ofAnother("budget", "the limit has none");
      if (request.budget === undefined) throw notSet("budget");
      spec.window = { case: "budget", value: clone(BudgetSchema, request.budget) };
      return;
    case "mode":
      spec.mode = request.mode;
      return;
    case "on_failure":
      spec.onFailure = request.onFailure;
      return;
    case "overrun":
      spec.overrun = request.overrun;
      return;
  }
}

function ofAnother(field: string, why: string): WeirError {
  return invalid(field, `${why}; the kind of a limit never changes: make another one`);
}

function notSet(field: string): WeirError {
  return invalid(field, "update_mask names it, and it is not set", "missing_required_parameter");
}

/** What a key lacks to write a limit on such a subject, in words; undefined if nothing. */
export function missingReach(kind: SubjectKind, reach: Reach): string | undefined {
  const aboveOrgs = kind === SubjectKind.INSTALLATION || kind === SubjectKind.ORG;
  return aboveOrgs && reach !== Reach.INSTALLATION ? "reach INSTALLATION" : undefined;
}

/** Equal for specs that say the same, in whatever order their models and operations come. */
export function fingerprintOfSpec(spec: LimitSpec): string {
  const ordered = create(LimitSpecSchema, spec);
  const models = spec.models.toSorted();
  const operations = spec.operations.toSorted((a, b) => a - b);
  return fingerprintOf({ spec: toJson(LimitSpecSchema, { ...ordered, models, operations }) });
}
