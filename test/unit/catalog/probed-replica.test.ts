import { create } from "@bufbuild/protobuf";
import { afterEach, expect, test } from "vitest";
import { PoolSchema } from "../../../gen/ts/weir/catalog/v1/pool_pb.ts";
import { Dialect, ReplicaLoadSchema, ReplicaSchema } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { createProbedReplica, type DriverDoor } from "../../../services/catalog/probed-replica.ts";
import { targetFrom } from "../../../services/drivers/target.ts";
import { fail, weirErrorFrom } from "../../../services/runtime/errors/fail.ts";
import { reasonName } from "../../../services/runtime/errors/reason-name.ts";
import { ScriptedDriver } from "../../fakes/scripted-driver.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

const empty = { engine: "e", models: [], load: create(ReplicaLoadSchema) };
const gone = fail(ErrorReason.ENGINE_UNAVAILABLE);
const patient = new AbortController().signal;
let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

/** A replica of no known dialect, whose drivers load what they are told to when the test says so. */
function setUp() {
  const clock = new SimulatedClock();
  const opened: ScriptedDriver[] = [];
  const detections: { readonly signal: AbortSignal; find(dialect: Dialect): void; miss(): void }[] = [];
  const loads: (() => void)[] = [];
  const state = { up: true };
  const drivers: DriverDoor = {
    open(dialect) {
      const driver = new ScriptedDriver(dialect);
      driver.onProbe = () => (state.up ? Promise.resolve(empty) : Promise.reject(gone));
      driver.repository = {
        list: async () => [],
        load: () => new Promise((resolve) => loads.push(resolve)),
        unload: () => Promise.reject(gone),
      };
      opened.push(driver);
      return driver;
    },
    detect: (_target, signal) =>
      new Promise((find, reject) => {
        detections.push({ signal, find, miss: () => reject(gone) });
        signal.addEventListener("abort", () => reject(gone));
      }),
  };
  const configured = create(ReplicaSchema, { id: "r", poolId: "p", url: "http://r" });
  const target = targetFrom(configured, create(PoolSchema, { id: "p" }), clock);
  const replica = stack.use(createProbedReplica(configured, target, drivers));
  const load = () => replica.order(async (repository) => repository?.load("m", patient), patient);
  return { clock, replica, opened, detections, loads, state, load };
}

const reasonOf = (answer: Promise<unknown>) =>
  answer.then(
    () => "answered",
    (error: unknown) => reasonName(weirErrorFrom(error).reason),
  );

test("a probe and an order that come while the dialect is found get one driver", async () => {
  const { replica, opened, detections, loads, load } = setUp();
  const probes = [replica.ask(patient), replica.ask(patient)];
  const order = load();
  detections[0]?.find(Dialect.TRITON);
  expect(await Promise.all(probes)).toEqual([empty, empty]);
  expect([detections.length, opened.length, loads.length]).toEqual([1, 1, 1]);
  loads[0]?.();
  await order;
});

test("whoever gives up does not end the search for the others, which ends by itself in 10 s", async () => {
  const { clock, replica, detections } = setUp();
  const impatient = new AbortController();
  const first = reasonOf(replica.ask(impatient.signal));
  const second = reasonOf(replica.ask(patient));
  impatient.abort();
  expect([await first, detections[0]?.signal.aborted]).toEqual(["CANCELLED", false]);
  clock.advance(10_000);
  expect([await second, detections[0]?.signal.aborted]).toEqual(["ENGINE_UNAVAILABLE", true]);
  const third = reasonOf(replica.ask(patient));
  detections[1]?.find(Dialect.OPENAI);
  expect(await third).toBe("answered");
  expect(clock.pendingTimers).toBe(0);
});

test("a doubt does not cut an order that runs: its driver is closed afterwards", async () => {
  const { replica, opened, detections, loads, state, load } = setUp();
  const order = load();
  detections[0]?.find(Dialect.TRITON);
  await expect.poll(() => loads.length).toBe(1);
  state.up = false;
  for (let probe = 0; probe < 4; probe++) expect(await reasonOf(replica.ask(patient))).toBe("ENGINE_UNAVAILABLE");
  state.up = true;
  const probe = reasonOf(replica.ask(patient));
  detections[1]?.find(Dialect.OPENAI);
  expect(await probe).toBe("answered");
  expect([opened.map(({ disposed }) => disposed), replica.replica.dialect]).toEqual([[false, false], Dialect.OPENAI]);
  loads[0]?.();
  await order;
  expect(opened.map(({ disposed }) => disposed)).toEqual([true, false]);
});

test("a stop ends everything at once: the search, and drivers with an order", async () => {
  const busy = setUp();
  void busy.load();
  busy.detections[0]?.find(Dialect.TRITON);
  await expect.poll(() => busy.loads.length).toBe(1);
  await busy.replica[Symbol.asyncDispose]();
  expect(busy.opened.map(({ disposed }) => disposed)).toEqual([true]);

  const searching = setUp();
  const probe = reasonOf(searching.replica.ask(patient));
  await searching.replica[Symbol.asyncDispose]();
  expect([await probe, searching.opened.length, searching.clock.pendingTimers]).toEqual(["ENGINE_UNAVAILABLE", 0, 0]);
});
