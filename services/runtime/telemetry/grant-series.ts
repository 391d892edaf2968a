import { Counter, type Registry } from "prom-client";

/** Adds the series that tells how many requests were warm. The counts, by label, are asked for when they are read. */
export function addGrantSeries(registry: Registry, read: () => Readonly<Record<string, number>>): void {
  new Counter({
    name: "weir_quota_checks_total",
    help: "Requests by how their limits were checked: none counts them (unlimited), from what this node had leased (leased), by a call of the quota service (asked), or not, by each limit's on_failure (unchecked).",
    labelNames: ["by"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [by, count] of Object.entries(read())) this.inc({ by }, count);
    },
  });
}
