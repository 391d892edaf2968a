import { describe } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { targetAt } from "../wire/attempts.ts";
import { type Asked, describeDriver, type Shape, type SuiteEngine } from "../wire/driver-suite.ts";
import { requireEngines } from "./availability.ts";
import { startLlamaCpp } from "./llamacpp/server.ts";

const gate = await requireEngines("llamacpp");

const slots = 2;

const shapes: Readonly<Partial<Record<Shape, Asked>>> = {
  short: { prompt: "tell me of the river", maxTokens: 16, ignoreEos: true },
  slow: { prompt: "tell me all of it", maxTokens: 7_500, ignoreEos: true },
  overlong: { prompt: "word ".repeat(9_000), maxTokens: 16 },
};

async function startServer(): Promise<SuiteEngine> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await startLlamaCpp({ slots }));
  const driver = cleanup.use(openDriver(Dialect.OPENAI, targetAt(server.url)));
  const [model] = (await driver.probe(AbortSignal.timeout(10_000))).models;
  if (!model) throw new Error("the probe found no model");
  const owned = cleanup.move();
  return {
    driver,
    model,
    slots,
    working: async () => (await server.busySlots()) + ((await server.metric("llamacpp:requests_deferred")) ?? 0),
    kill: () => server.kill(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

describe.skipIf(gate.skip)(gate.title("the openai driver"), () => {
  // A cancelled request stays in its queue, and is dropped when its turn comes: nothing is generated for it.
  // It has one model, and takes every name for it.
  describeDriver("at llama.cpp", { shapes, cancels: true, leavesQueue: false, knowsModels: false }, startServer);
});
