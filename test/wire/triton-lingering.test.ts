import { afterAll, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { attemptAt, start, targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const tokens = 60;

async function attemptThatLeaves(name: string) {
  const simulator = cleanup.use(await startSimulatorProcess(["--decode-ms", "10", "--prefill-ms", "0"]));
  const driver = cleanup.use(openDriver(Dialect.TRITON, targetAt(simulator.grpcUrl)));
  const { models } = await driver.probe(AbortSignal.timeout(10_000));
  const model = models.find(({ engineModel }) => engineModel === name);
  if (!model) throw new Error(`no model ${name}`);
  const request = { input: { case: "prompt", value: `[[sim length=${tokens}]] all of it` } } as const;
  const running = start(driver, attemptAt(model, request, { maxTokens: tokens }));
  await running.outcome.until(() => running.outcome.deltas.length > 0);
  running.cancel();
  return { simulator, running };
}

const endsOf = (simulator: SimulatorProcess) =>
  simulator.record().filter(({ event }) => event === "finished" || event === "cancelled");

test("a BLS model goes on after a cancel, and the driver says when it has ended", async () => {
  const { simulator, running } = await attemptThatLeaves("tensorrt_llm_bls");
  const { lingering } = running.outcome;
  expect(lingering).toHaveLength(1);
  expect(endsOf(simulator)).toEqual([]);
  await lingering[0];
  expect(endsOf(simulator)).toMatchObject([{ event: "finished", tokens }]);
  expect(running.outcome.late).toBe(0);
});

test("of an ensemble that can be stopped it says nothing", async () => {
  const { running } = await attemptThatLeaves("ensemble");
  expect(running.outcome.lingering).toEqual([]);
});
