import type { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { detectKind } from "./detection.ts";
import type { Driver, DriverKind, Target } from "./driver.ts";
import { anthropicDriver } from "./anthropic/driver.ts";
import { openaiDriver } from "./openai/driver.ts";
import { tgiDriver } from "./tgi/driver.ts";
import { tgisDriver } from "./tgis/driver.ts";
import { tritonDriver } from "./triton/driver.ts";
import { vllmDriver } from "./vllm/driver.ts";

/**
 * Every dialect that engines are spoken to in, those that fewer servers answer first. OpenAI's is the last one: TGI lists
 * its models as OpenAI does, too, and a server that refuses our key may be anything.
 */
const driverKinds: readonly DriverKind[] = [
  tritonDriver,
  tgisDriver,
  vllmDriver,
  tgiDriver,
  anthropicDriver,
  openaiDriver,
];

/**
 * Opens the driver of a dialect. It connects when it is used.
 * @throws a RangeError for a dialect that has no driver.
 */
export function openDriver(dialect: Dialect, target: Target): Driver {
  const kind = driverKinds.find((candidate) => candidate.dialect === dialect);
  if (!kind) throw new RangeError(`no driver for dialect ${dialect}`);
  return kind.open(target);
}

/**
 * Finds out which dialect the server at the target speaks, by asking in all of them at once.
 * Rejects with ENGINE_UNAVAILABLE if nothing answers there, with ENGINE_PROTOCOL if what answers speaks none of them.
 */
export async function detectDialect(target: Target, signal: AbortSignal): Promise<Dialect> {
  return (await detectKind(driverKinds, target, signal)).dialect;
}
