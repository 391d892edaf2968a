import { expect, test } from "vitest";
import type { Channel } from "../../services/drivers/grpc/channel.ts";
import { stopBehindEnsemble } from "../../services/drivers/triton/stop-request.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";

/** A connection on which everything is sent and nothing is answered. */
class SilentChannel implements Pick<Channel, "closed" | "send"> {
  closed = false;
  readonly sentMs: number[] = [];
  cancelled = 0;
  readonly #clock: SimulatedClock;

  constructor(clock: SimulatedClock) {
    this.#clock = clock;
  }

  send(): ReturnType<Channel["send"]> {
    this.sentMs.push(this.#clock.monotonicMs());
    return { pause: () => undefined, resume: () => undefined, cancel: () => void (this.cancelled += 1) };
  }
}

test("a stop is said again, for a core that gets the request after the first", () => {
  const clock = new SimulatedClock();
  const channel = new SilentChannel(clock);
  stopBehindEnsemble(channel as Channel & SilentChannel, "tensorrt_llm", "one", clock);
  clock.advance(60_000);
  expect(channel.sentMs).toEqual([0, 100, 500, 2_000]);
  // The core answers at once; who does not is given up.
  expect(channel.cancelled).toBe(4);
  expect(clock.pendingTimers).toBe(0);
});

test("not on a connection that is closed", () => {
  const clock = new SimulatedClock();
  const channel = new SilentChannel(clock);
  stopBehindEnsemble(channel as Channel & SilentChannel, "tensorrt_llm", "one", clock);
  clock.advance(200);
  channel.closed = true;
  clock.advance(60_000);
  expect(channel.sentMs).toEqual([0, 100]);
});
