import { create } from "@bufbuild/protobuf";
import { type ReplicaLoad, ReplicaLoadSchema } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";

/** What a server calls its gauges; empty: it has none such. */
export interface GaugeNames {
  readonly running: string;
  readonly waiting: string;
  /** The part of the KV cache in use, 0 to 1. */
  readonly kvUsed: string;
}

/** The load of a server that does not tell it. */
export function unknownLoad(): ReplicaLoad {
  return create(ReplicaLoadSchema, { running: -1, waiting: -1, kvUsed: -1 });
}

/** Reads a server's load from its metrics. Of several engines in one server requests add up, and the fullest cache counts. */
export function loadFrom(metrics: string, gauges: GaugeNames): ReplicaLoad {
  const running = samples(metrics, gauges.running);
  const waiting = samples(metrics, gauges.waiting);
  const kvUsed = gauges.kvUsed === "" ? [] : samples(metrics, gauges.kvUsed);
  return create(ReplicaLoadSchema, {
    running: total(running),
    waiting: total(waiting),
    kvUsed: kvUsed.length === 0 ? -1 : kvUsed.reduce((fullest, used) => Math.max(fullest, Math.min(1, used)), 0),
  });
}

/** The values of a gauge, one for each set of labels, or for those that have a label such as `type="waiting"`. */
export function samples(metrics: string, name: string, label = ""): number[] {
  const values: number[] = [];
  for (let at = metrics.indexOf(name); at >= 0; at = metrics.indexOf(name, at + name.length)) {
    const after = metrics[at + name.length];
    if ((at > 0 && metrics[at - 1] !== "\n") || (after !== " " && after !== "{")) continue;
    const end = metrics.indexOf("\n", at);
    const line = metrics.slice(at, end < 0 ? undefined : end);
    if (!line.includes(label)) continue;
    const value = Number(
      line
        .slice(line.lastIndexOf("}") + 1)
        .replace(name, "")
        .trim()
        .split(" ")[0],
    );
    if (Number.isFinite(value) && value >= 0) values.push(value);
  }
  return values;
}

/** More than any server has, and what the contract's number holds. */
const totalMax = 2 ** 31 - 1;

/** Requests in all; -1 if nothing tells of any. */
export function total(values: readonly number[]): number {
  if (values.length === 0) return -1;
  return Math.min(totalMax, Math.round(values.reduce((sum, value) => sum + value, 0)));
}
