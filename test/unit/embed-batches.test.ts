import { expect, test } from "vitest";
import { embedInBatches } from "../../services/drivers/embed-batches.ts";
import type { Embedded } from "../../services/drivers/unary.ts";
import { WeirError, weirErrorFrom } from "../../services/runtime/errors/fail.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import { calm, embedAttempt } from "../wire/unary-calls.ts";

const { request } = embedAttempt(["a", "b", "c", "d", "e", "f"]);
const one = { size: () => 1, atOnceMax: 2 };
const vector = new Uint8Array(new Float32Array([1]).buffer);

/** Embeds in batches that take so long each, and tells how many were asked for and how many were ended. */
async function embedWith(batchMs: number) {
  const clock = new SimulatedClock();
  const target = { clock, totalMs: 1_000, engineKey: undefined };
  const counts = { asked: 0, ended: 0 };
  const outcome = embedInBatches(request, target, one, calm, (_inputs, _suffix, signal) => {
    counts.asked += 1;
    const { promise, resolve, reject } = Promise.withResolvers<Embedded>();
    const onAbort = () => {
      timer.cancel();
      counts.ended += 1;
      reject(weirErrorFrom(signal.reason));
    };
    const timer = clock.setTimer(batchMs, () => {
      signal.removeEventListener("abort", onAbort);
      resolve({ vectors: [vector], tokens: 1 });
    });
    signal.addEventListener("abort", onAbort);
    return promise;
  }).catch((thrown: unknown) => thrown);
  await clock.advanceAsync(5_000);
  return { outcome: await outcome, ...counts, pending: clock.pendingTimers };
}

test("all batches of a request have the time of one request together", async () => {
  // Two at a time: the third pair would end after 1.2 s.
  const { outcome, asked, ended, pending } = await embedWith(400);
  expect(outcome).toBeInstanceOf(WeirError);
  expect(outcome).toMatchObject({
    reason: ErrorReason.ENGINE_TIMEOUT,
    facts: { model: "caller-model", phase: "end", waited_ms: "1000" },
  });
  expect({ asked, ended, pending }).toEqual({ asked: 6, ended: 2, pending: 0 });
});

test("batches that are done in time leave no timer", async () => {
  const { outcome, ended, pending } = await embedWith(300);
  expect(outcome).toMatchObject({ tokens: 6 });
  expect({ ended, pending }).toEqual({ ended: 0, pending: 0 });
});
