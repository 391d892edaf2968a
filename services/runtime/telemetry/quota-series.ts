import { Counter, Gauge, type Registry } from "prom-client";
import { Dimension, DimensionSchema } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { type DenialReason, DenialReasonSchema } from "../../../gen/ts/weir/quota/v1/reservation_pb.ts";

/** How limits stand, asked for when series are read. */
export interface QuotaState {
  /** Limits that there are. */
  limits(): ReadonlyMap<Dimension, number>;
  /**
   * What nodes hold to spend without asking, over all limits of a dimension, in its unit; undefined when the store
   * cannot tell now.
   */
  leased(): Promise<ReadonlyMap<Dimension, number> | undefined>;
  /** For how long limits could not be read, in milliseconds. */
  ageMs(): number;
}

/** Counts refusals. */
export interface QuotaCounts {
  /** A limit refused a request, or a part of an answer. */
  denied(dimension: Dimension, reason: DenialReason): void;
  /** A limit in shadow mode would have. */
  wouldDeny(dimension: Dimension): void;
}

/** Adds the series of the process that counts by limits. Labels are the contract's own names, never a limit's. */
export function addQuotaSeries(registry: Registry, state: QuotaState): QuotaCounts {
  const registers = [registry];
  const labelNames = ["dimension"];
  const set = (gauge: Gauge, values: ReadonlyMap<number, number>) => {
    for (const [dimension, label] of dimensions) gauge.set({ dimension: label }, values.get(dimension) ?? 0);
  };
  new Gauge({
    name: "weir_quota_limits",
    help: "Limits that there are.",
    labelNames,
    registers,
    collect() {
      set(this, state.limits());
    },
  });
  new Gauge({
    name: "weir_quota_leased",
    help: "What nodes hold to spend without asking: by how much all limits together may be overdrawn unseen, at most.",
    labelNames,
    registers,
    async collect() {
      const leased = await state.leased();
      if (leased === undefined) this.reset();
      else set(this, leased);
    },
  });
  new Gauge({
    name: "weir_quota_limits_age_seconds",
    help: "For how long limits could not be read from the database.",
    registers,
    collect() {
      this.set(state.ageMs() / 1000);
    },
  });
  const denials = new Counter({
    name: "weir_quota_denials_total",
    help: "Requests, or parts of answers, that a limit refused.",
    labelNames: ["dimension", "reason"],
    registers,
  });
  const shadow = new Counter({
    name: "weir_quota_shadow_denials_total",
    help: "Requests, or parts of answers, that a limit in shadow mode would have refused.",
    labelNames,
    registers,
  });
  return {
    denied: (dimension, reason) => denials.inc({ dimension: labelOf(dimension), reason: reasonLabel(reason) }),
    wouldDeny: (dimension) => shadow.inc({ dimension: labelOf(dimension) }),
  };
}

const dimensions = new Map<number, string>(
  DimensionSchema.values
    .filter(({ number }) => number !== Dimension.UNSPECIFIED)
    .map(({ number, localName }) => [number, localName.toLowerCase()]),
);

function labelOf(dimension: Dimension): string {
  return dimensions.get(dimension) ?? "unspecified";
}

function reasonLabel(reason: DenialReason): string {
  return DenialReasonSchema.value[reason]?.localName.toLowerCase() ?? "unspecified";
}
