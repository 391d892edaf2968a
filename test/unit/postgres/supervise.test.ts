import { pino } from "pino";
import { expect, test } from "vitest";
import type { Postmaster, PostmasterExit } from "../../../services/runtime/postgres/postmaster.ts";
import { supervise } from "../../../services/runtime/postgres/supervise.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

interface Life {
  readonly startedMs: number;
  die(): void;
  ended(): boolean;
}

/** Postmasters that live until they are told to die; the next `failures` starts fail. */
function createNursery(clock: SimulatedClock) {
  const lives: Life[] = [];
  const attemptsMs: number[] = [];
  let open = Promise.resolve();
  const nursery = {
    lives,
    attemptsMs,
    failures: 0,
    /** Holds starts back until the returned function is called. */
    closeGate(): () => void {
      const gate = Promise.withResolvers<void>();
      open = gate.promise;
      return gate.resolve;
    },
    async start(): Promise<Postmaster> {
      attemptsMs.push(clock.monotonicMs());
      await open;
      if (nursery.failures > 0) {
        nursery.failures -= 1;
        throw new Error("no luck");
      }
      const { promise: exited, resolve } = Promise.withResolvers<PostmasterExit>();
      let over = false;
      const die = () => {
        over = true;
        resolve({ code: null, signal: "SIGKILL" });
      };
      lives.push({ startedMs: clock.monotonicMs(), die, ended: () => over });
      return { pid: lives.length, exited, [Symbol.asyncDispose]: async () => die() };
    },
  };
  return nursery;
}

async function superviseIn(nursery: ReturnType<typeof createNursery>, clock: SimulatedClock) {
  const { signal } = new AbortController();
  const log = pino({ level: "silent" });
  return supervise({ start: () => nursery.start(), clock, log, giveUpAfterMs: 60_000, signal });
}

test("a server that dies is started again after 0.1 s, then ever later, at most 5 s", async () => {
  const clock = new SimulatedClock();
  const nursery = createNursery(clock);
  const server = await superviseIn(nursery, clock);
  nursery.failures = 7;
  nursery.lives[0]?.die();
  await clock.advanceAsync(0);
  expect([server.state(), server.pid()]).toEqual(["restarting", undefined]);
  await clock.advanceAsync(30_000);
  expect([server.state(), server.pid()]).toEqual(["ready", 2]);
  const gaps = nursery.attemptsMs.slice(1).map((at, index) => at - (nursery.attemptsMs[index] ?? 0));
  expect(gaps).toEqual([100, 100, 200, 400, 800, 1_600, 3_200, 5_000]);
});

test("a server that dies right after each start is not started in a busy loop", async () => {
  const clock = new SimulatedClock();
  const nursery = createNursery(clock);
  await superviseIn(nursery, clock);
  for (let round = 0; round < 8; round += 1) {
    nursery.lives.at(-1)?.die();
    await clock.advanceAsync(5_000);
  }
  const bornMs = nursery.lives.map((life) => life.startedMs);
  expect(bornMs).toEqual([0, 100, 5_200, 10_400, 15_800, 21_600, 28_200, 35_000, 40_000]);
});

test("no start for long enough is given up, and told once", async () => {
  const clock = new SimulatedClock();
  const nursery = createNursery(clock);
  const server = await superviseIn(nursery, clock);
  nursery.failures = Number.POSITIVE_INFINITY;
  nursery.lives[0]?.die();
  await clock.advanceAsync(61_000);
  expect(await server.ended).toEqual({ reason: "gave_up", cause: new Error("no luck") });
  expect(server.state()).toBe("ended");
  await server[Symbol.asyncDispose]();
  expect(clock.pendingTimers).toBe(0);
});

test("a first start that does not come about is an error after 3 s at most", async () => {
  const clock = new SimulatedClock();
  const nursery = createNursery(clock);
  nursery.failures = Number.POSITIVE_INFINITY;
  const outcome = superviseIn(nursery, clock).catch(String);
  await clock.advanceAsync(3_000);
  expect(await outcome).toBe("Error: no luck");
});

test("disposing ends a wait for the next start at once", async () => {
  const clock = new SimulatedClock();
  const nursery = createNursery(clock);
  const server = await superviseIn(nursery, clock);
  nursery.lives[0]?.die();
  await clock.advanceAsync(0);
  await server[Symbol.asyncDispose]();
  expect(await server.ended).toEqual({ reason: "stopped" });
  expect([nursery.lives.length, clock.pendingTimers]).toEqual([1, 0]);
});

test("a server that gets ready while we are disposed of is stopped, too", async () => {
  const clock = new SimulatedClock();
  const nursery = createNursery(clock);
  const server = await superviseIn(nursery, clock);
  const gate = nursery.closeGate();
  nursery.lives[0]?.die();
  await clock.advanceAsync(100);
  expect(nursery.attemptsMs).toHaveLength(2);
  const disposed = server[Symbol.asyncDispose]();
  gate();
  await disposed;
  expect(nursery.lives.map((life) => life.ended())).toEqual([true, true]);
  expect(await server.ended).toEqual({ reason: "stopped" });
});
