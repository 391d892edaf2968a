import { inspect } from "node:util";
import { WeirError } from "../../services/runtime/errors/fail.ts";
import type { CallOptions } from "../../services/runtime/mesh/context.ts";
import { eventually } from "./eventually.ts";
import { type Harness, principal } from "./harness.ts";

export const requestId = "019aa7b0-0000-7000-8000-000000000001";
/** A caller that may read. */
export const known = { principal: principal(), requestId } satisfies CallOptions;

/** The reason of a call's failure; fails if there is none. */
export async function failureOf(work: Promise<unknown>): Promise<WeirError> {
  try {
    await work;
  } catch (thrown) {
    if (thrown instanceof WeirError) return thrown;
    throw new Error("the error has no reason", { cause: thrown });
  }
  throw new Error("it did not fail");
}

/** Reads a stream to its end. */
export async function indexesOf(messages: AsyncIterable<{ index: number }>): Promise<number[]> {
  const indexes: number[] = [];
  for await (const { index } of messages) indexes.push(index);
  return indexes;
}

/** Reads a stream to its end, and keeps nothing. */
export async function drain(messages: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of messages);
}

/** Everything that can be seen of an error. */
export function textOf(error: Error): string {
  return inspect(error, { depth: 4 });
}

/** Every call has left its handler, and nothing of it is left behind. */
export async function nothingIsLeft(harness: Harness): Promise<void> {
  await eventually("handlers have ended", () => harness.probe.running === 0);
  await eventually("timers are cleared", () => harness.clock.pendingTimers === 0);
  await eventually("keys are let go", () => harness.identity.watched === 0);
}
