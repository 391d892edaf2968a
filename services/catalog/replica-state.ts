import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { reasonName } from "../runtime/errors/reason-name.ts";
import {
  ReplicaHealth,
  ReplicaLoadSchema,
  type ReplicaModel,
  ReplicaModelSchema,
  type ReplicaState,
  ReplicaStateSchema,
} from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { ProbeResult } from "../drivers/driver.ts";
import type { WeirError } from "../runtime/errors/fail.ts";
import type { ServedName } from "./desired.ts";

/** A replica as its probes tell. */
export interface Observed {
  readonly state: ReplicaState;
  /** Failed probes since the last good one. */
  readonly failures: number;
}

/** One lost probe is no verdict: a busy engine may answer late. */
export const failuresUntilDown = 2;

/** After a probe that was answered: its models under the catalogue's names. Others of the engine are left out. */
export function answered(result: ProbeResult, served: readonly ServedName[], nowMs: number): Observed {
  const models = result.models.flatMap((model) => named(model, served));
  const state = create(ReplicaStateSchema, {
    health: ReplicaHealth.READY,
    problem: missing(result, served),
    probeTime: timestampFromMs(nowMs),
    engine: result.engine,
    models,
    load: result.load,
  });
  return { state, failures: 0 };
}

/**
 * After a probe that failed. What was known stays until the second failure in a row. The models stay even then: what a
 * replica can do is not forgotten while it is away.
 */
export function unanswered(before: Observed | undefined, error: WeirError, nowMs: number): Observed {
  const failures = (before?.failures ?? 0) + 1;
  const known = before?.state;
  const wasReady = known?.health === ReplicaHealth.READY;
  const stays = wasReady && failures < failuresUntilDown;
  const state = create(ReplicaStateSchema, {
    health: stays ? ReplicaHealth.READY : ReplicaHealth.DOWN,
    problem: `${reasonName(error.reason)}: ${error.facts["problem"] ?? error.rawMessage}`,
    probeTime: timestampFromMs(nowMs),
    engine: known?.engine ?? "",
    models: known?.models ?? [],
    load: stays && known.load ? known.load : create(ReplicaLoadSchema, { running: -1, waiting: -1, kvUsed: -1 }),
  });
  return { state, failures };
}

/** An engine's model may be served under several names. */
function named(model: ReplicaModel, served: readonly ServedName[]): ReplicaModel[] {
  return served
    .filter(({ engineModel }) => engineModel === model.engineModel)
    .map(({ modelId }) => create(ReplicaModelSchema, { ...model, modelId }));
}

/** A misspelt `engine_model` would else only show as a model without replicas. */
function missing(result: ProbeResult, served: readonly ServedName[]): string {
  const has = new Set(result.models.map(({ engineModel }) => engineModel));
  const wanted = [...new Set(served.map(({ engineModel }) => engineModel))].filter((name) => !has.has(name));
  if (wanted.length === 0) return "";
  const list = [...has].slice(0, 20).join(", ") || "none";
  return `the engine has no model ${wanted.join(", ")}; it has: ${list}`;
}
