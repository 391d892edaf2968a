import { create } from "@bufbuild/protobuf";
import { afterEach, describe, expect, test } from "vitest";
import { PoolSchema } from "../../../gen/ts/weir/catalog/v1/pool_pb.ts";
import { Dialect, ReplicaLoadSchema, ReplicaSchema } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { createProbedReplica, type DriverDoor } from "../../../services/catalog/probed-replica.ts";
import { type ProbeOutcome, startProber } from "../../../services/catalog/prober.ts";
import { targetFrom } from "../../../services/drivers/target.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { ScriptedDriver } from "../../fakes/scripted-driver.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

const empty = { engine: "e", models: [], load: create(ReplicaLoadSchema) };
const gone = fail(ErrorReason.ENGINE_UNAVAILABLE);
let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

function setUp(over: { dialect?: Dialect; replicas?: number; drivers?: Partial<DriverDoor>; chance?: number } = {}) {
  const { dialect = Dialect.OPENAI, replicas = 1, chance = 0.5 } = over;
  const clock = new SimulatedClock();
  const opened: ScriptedDriver[] = [];
  const outcomes: (ProbeOutcome & { readonly atMs: number })[] = [];
  let askedAll = 0;
  let answer: ScriptedDriver["onProbe"] = async () => empty;
  const drivers: DriverDoor = {
    open(kind) {
      const driver = new ScriptedDriver(kind);
      driver.onProbe = (signal) => answer(signal);
      opened.push(driver);
      return driver;
    },
    detect: () => Promise.reject(gone),
    ...over.drivers,
  };
  const pool = create(PoolSchema, { id: "p" });
  const probed = Array.from({ length: replicas }, (_, index) => {
    const replica = create(ReplicaSchema, { id: `r${index}`, poolId: "p", url: `http://r${index}`, dialect });
    return createProbedReplica(replica, targetFrom(replica, pool, clock), drivers);
  });
  const prober = startProber({
    replicas: probed,
    intervalMs: 5_000,
    timeoutMs: 2_000,
    clock,
    random: () => chance,
    report: (outcome) => void outcomes.push({ ...outcome, atMs: clock.monotonicMs() }),
    askedAll: () => void (askedAll += 1),
  });
  stack.use(prober);
  return {
    clock,
    opened,
    outcomes,
    prober,
    asked: () => askedAll,
    answerWith: (next: ScriptedDriver["onProbe"]) => void (answer = next),
    times: () => outcomes.map(({ kind, atMs }) => `${kind} ${atMs}`),
  };
}

describe("probes", () => {
  test("come at once and then every interval", async () => {
    const { clock, times, asked } = setUp();
    await clock.advanceAsync(10_000);
    expect(times()).toEqual(["answered 0", "answered 5000", "answered 10000"]);
    expect(asked()).toBe(1);
  });

  test.each([
    [0, 4_500],
    [0.999, 5_499],
  ])("are spread by chance (%f)", async (chance, dueMs) => {
    const { clock, outcomes } = setUp({ chance });
    await clock.advanceAsync(dueMs - 1);
    expect(outcomes).toHaveLength(1);
    await clock.advanceAsync(2);
    expect(outcomes).toHaveLength(2);
  });

  test("come soon after a failure, later each time, and back to the interval after an answer", async () => {
    const { clock, times, answerWith } = setUp();
    await clock.advanceAsync(0);
    answerWith(() => Promise.reject(gone));
    await clock.advanceAsync(9_000);
    answerWith(async () => empty);
    await clock.advanceAsync(9_000);
    expect(times()).toEqual([
      "answered 0",
      "failed 5000",
      "failed 5250",
      "failed 5750",
      "failed 6750",
      "failed 8750",
      "answered 12750",
      "answered 17750",
    ]);
  });

  test("one at a time: the next comes after the last was given up", async () => {
    const { clock, times, answerWith, outcomes } = setUp();
    let running = 0;
    let most = 0;
    await clock.advanceAsync(0);
    answerWith(
      (signal) =>
        new Promise((_resolve, reject) => {
          running += 1;
          most = Math.max(most, running);
          signal.addEventListener("abort", () => {
            running -= 1;
            reject(gone);
          });
        }),
    );
    await clock.advanceAsync(12_000);
    expect(times()).toEqual(["answered 0", "failed 7000", "failed 9250", "failed 11750"]);
    expect(outcomes[1]).toMatchObject({ error: { reason: ErrorReason.ENGINE_TIMEOUT } });
    expect(most).toBe(1);
  });

  test("come at once when something was changed, and once more when one was running", async () => {
    const { clock, times, prober, answerWith } = setUp();
    await clock.advanceAsync(1_000);
    prober.hurry("r0");
    prober.hurry("nobody");
    await clock.advanceAsync(5_000);
    expect(times()).toEqual(["answered 0", "answered 1000", "answered 6000"]);
    answerWith(async () => {
      if (times().length === 3) prober.hurry("r0");
      return empty;
    });
    await clock.advanceAsync(5_000);
    expect(times().slice(3)).toEqual(["answered 11000", "answered 11000"]);
  });

  test("one lost first probe is no verdict: all are asked when each has answered once or failed twice", async () => {
    let lost = 1;
    const world = setUp({ replicas: 2 });
    world.answerWith(() => (lost-- > 0 ? Promise.reject(gone) : Promise.resolve(empty)));
    await world.clock.advanceAsync(249);
    expect([world.times(), world.asked()]).toEqual([["failed 0", "answered 0"], 0]);
    await world.clock.advanceAsync(1);
    expect(world.asked()).toBe(1);

    const dead = setUp();
    dead.answerWith(() => Promise.reject(gone));
    await dead.clock.advanceAsync(249);
    expect(dead.asked()).toBe(0);
    await dead.clock.advanceAsync(1);
    expect([dead.times(), dead.asked()]).toEqual([["failed 0", "failed 250"], 1]);
  });

  test("a driver that forgets its signal does not stop them", async () => {
    const { clock, times, answerWith } = setUp();
    answerWith(() => new Promise(() => {}));
    await clock.advanceAsync(10_000);
    expect(times().length).toBeGreaterThan(2);
  });

  test("stop with the prober, and the drivers close", async () => {
    const { clock, opened, outcomes, prober, answerWith } = setUp({ replicas: 3 });
    await clock.advanceAsync(1);
    answerWith((signal) => new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(gone))));
    await clock.advanceAsync(6_000);
    await prober[Symbol.asyncDispose]();
    expect(clock.pendingTimers).toBe(0);
    expect(opened.map(({ disposed }) => disposed)).toEqual([true, true, true]);
    expect(outcomes).toHaveLength(3);
  });
});

describe("the dialect, where none is configured", () => {
  test("is asked for once, and told with the replica", async () => {
    let detected = 0;
    const detect = async () => {
      detected += 1;
      return Dialect.TRITON;
    };
    const { clock, outcomes, opened } = setUp({ dialect: Dialect.UNSPECIFIED, drivers: { detect } });
    await clock.advanceAsync(20_000);
    expect(detected).toBe(1);
    expect(opened.map(({ dialect }) => dialect)).toEqual([Dialect.TRITON]);
    expect(outcomes.every(({ replica }) => replica.dialect === Dialect.TRITON)).toBe(true);
  });

  test("is asked for again when the replica failed for long: the address may have another engine", async () => {
    const found = [Dialect.TRITON, Dialect.OPENAI];
    const detect = async () => found.shift() ?? Dialect.OPENAI;
    const { clock, opened, answerWith, outcomes } = setUp({ dialect: Dialect.UNSPECIFIED, drivers: { detect } });
    await clock.advanceAsync(1);
    answerWith(() => Promise.reject(gone));
    await clock.advanceAsync(7_000);
    answerWith(async () => empty);
    await clock.advanceAsync(10_000);
    expect(opened.map(({ dialect }) => dialect)).toEqual([Dialect.TRITON, Dialect.OPENAI]);
    expect(opened[0]?.disposed).toBe(true);
    // Until another is found it is the same replica: one without a dialect would be a new one, with all its places free.
    expect(new Set(outcomes.map(({ replica }) => replica.dialect))).toEqual(new Set([Dialect.TRITON, Dialect.OPENAI]));
    expect(outcomes.at(-1)).toMatchObject({ kind: "answered", replica: { dialect: Dialect.OPENAI } });
  });

  test("is waited for while nothing answers", async () => {
    const { clock, times } = setUp({ dialect: Dialect.UNSPECIFIED });
    await clock.advanceAsync(800);
    expect(times()).toEqual(["failed 0", "failed 250", "failed 750"]);
  });
});
