import { afterAll, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { startSimulator } from "../../services/simulator/simulator.ts";
import { attemptAt, run, targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const opened = (async () => {
  const speed = { prefillMsPerToken: 0, decodeMsPerToken: 1 };
  const simulator = cleanup.use(await startSimulator({ speed, triton: { port: 0 } }));
  const driver = cleanup.use(openDriver(Dialect.TRITON, targetAt(simulator.grpcUrl)));
  const { models } = await driver.probe(AbortSignal.timeout(10_000));
  const model = models.find(({ engineModel }) => engineModel === "vllm_model");
  if (!model) throw new Error("the simulator has no vllm_model");
  return { driver, model };
})();

async function plain(request: Parameters<typeof attemptAt>[1]) {
  const { driver, model } = await opened;
  const input = { case: "prompt", value: "[[sim length=40]] likely" } as const;
  const outcome = await run(driver, attemptAt(model, { input, stream: false, ...request }, { maxTokens: 64 }));
  expect(outcome.reason).toBeUndefined();
  return outcome;
}

test("log probabilities of a plain answer come token by token: in one piece they are megabytes", async () => {
  const outcome = await plain({ logprobs: { top: 20 } });
  expect([outcome.finish(), outcome.tokens()]).toEqual(["STOP", 40]);
  expect(outcome.deltas.map(({ logprobs }) => logprobs.length)).toEqual(Array.from({ length: 40 }, () => 1));
});

test("a plain answer without them comes in one piece", async () => {
  const outcome = await plain({});
  expect(outcome.deltas.map(({ choice, tokens }) => [choice, tokens])).toEqual([[0, 40]]);
});

test("several choices are refused by name: the backend does not say which one a text belongs to", async () => {
  const { driver, model } = await opened;
  const outcome = await run(driver, attemptAt(model, { choices: 2 }));
  expect([outcome.reason, outcome.failure?.facts["param"]]).toEqual(["UNSUPPORTED", "n"]);
});
