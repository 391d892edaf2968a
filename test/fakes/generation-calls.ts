import { expect } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource, FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { accepted, finished, textDelta, usageEvent } from "../../services/drivers/events.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { type Call, RouterWorld, type WorldOptions } from "./router-world.ts";
import type { ScriptedTry } from "./scripted-driver.ts";

/** The caller goes away. */
export const leaves = fail(ErrorReason.CANCELLED);

/** The engine is not there any more. */
export const gone = fail(ErrorReason.ENGINE_UNAVAILABLE);

/** The connection to the engine broke while it had the request. */
export const died = fail(ErrorReason.ENGINE_UNAVAILABLE, { phase: "running" });

/** A router with the model "m" at replicas of one place each. */
export function openWorld(options: WorldOptions = {}, replicas: readonly string[] = ["a", "b"]): RouterWorld {
  const world = new RouterWorld(options);
  world.pool({ concurrencyMax: 1 });
  world.model({ id: "m" });
  for (const id of replicas) world.replica(id);
  return world;
}

/**
 * Ends what still runs, and expects, whatever a test did: every place is back, nobody waits, no timer is left, each
 * request has one line in the log.
 */
export async function closeClean(world: RouterWorld): Promise<void> {
  const running = [...world.drivers.values()].flatMap((driver) => driver.tries);
  const before = world.records.length;
  world.generations.stopAll();
  for (const record of world.records.slice(before)) expect(record.reason).toBe(ErrorReason.DRAINING);
  expect(world.inFlight).toBe(0);
  expect(world.queued).toBe(0);
  expect(world.admission.waiting).toBe(0);
  for (const seat of world.fleet.resolve("m")?.seats ?? []) expect(seat.inFlight).toBe(0);
  for (const { sink } of running) {
    sink.event(textDelta(0, "late", 1));
    sink.end();
  }
  const ids = world.records.map(({ context }) => context.requestId);
  expect(new Set(ids).size).toBe(ids.length);
  // The ledger is told once of each that was admitted, and of no other.
  const admitted = world.records.filter(({ model }) => model !== undefined);
  expect(world.journal.finals.map(({ requestId }) => requestId).sort()).toEqual(
    admitted.map(({ context }) => context.requestId).sort(),
  );
  expect(world.journal.running.size).toBe(0);
  await world.fleet[Symbol.asyncDispose]();
  expect(world.clock.pendingTimers).toBe(0);
}

/** The engine answers the try from start to end, one token a text. */
export function answer({ sink }: ScriptedTry, ...texts: string[]): void {
  const { ENGINE } = CountSource;
  sink.event(accepted());
  for (const text of texts) sink.event(textDelta(0, text, 1));
  sink.event(finished(0, FinishReason.STOP));
  sink.event(
    usageEvent({ promptTokens: 9, completionTokens: texts.length, promptSource: ENGINE, completionSource: ENGINE }),
  );
  sink.end();
}

/** What a caller saw, in short. */
export function seen({ sink }: Call): string[] {
  const lines = sink.events.map(short);
  if (sink.ended) lines.push("end");
  if (sink.error) lines.push(`fail ${nameOfReason(sink.error.reason)}`);
  return lines;
}

function short({ event }: GenerateResponse): string {
  switch (event.case) {
    case "started":
      return `started ${event.value.attempt}`;
    case "delta":
      return event.value.fragment.case === "text" ? `+${event.value.fragment.value}` : "+?";
    case "finished":
      return `finished ${event.value.choice}`;
    case "usage":
      return `usage ${event.value.promptTokens}+${event.value.completionTokens}`;
    case "failed":
      return `failed ${nameOfReason(event.value.error?.reason ?? 0)}`;
    default:
      return "?";
  }
}

function nameOfReason(reason: ErrorReason): string {
  return Object.entries(ErrorReason).find(([, value]) => value === reason)?.[0] ?? "?";
}
