import { describe } from "vitest";
import { openDriver, detectDialect } from "../../services/drivers/registry.ts";
import { targetAt } from "../wire/attempts.ts";
import { type Asked, describeDriver, type Shape, type SuiteEngine } from "../wire/driver-suite.ts";
import { requireEngines } from "./availability.ts";
import { startTgis } from "./tgis/server.ts";

const gate = await requireEngines("tgis", "llamacpp");

const slots = 2;

const shapes: Readonly<Partial<Record<Shape, Asked>>> = {
  short: { prompt: "tell me of the river", maxTokens: 16 },
  slow: { prompt: "tell me all of it", maxTokens: 7_500, minTokens: 7_500 },
  overlong: { prompt: "word ".repeat(9_000), maxTokens: 16 },
};

async function startServer(): Promise<SuiteEngine> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await startTgis(slots));
  // Two dozen requests at two places, on a busy machine.
  const target = targetAt(server.grpcUrl, { firstEventMs: 90_000 });
  const driver = cleanup.use(openDriver(await detectDialect(target, AbortSignal.timeout(10_000)), target));
  const [model] = (await driver.probe(AbortSignal.timeout(10_000))).models;
  if (!model) throw new Error("the probe found no model");
  const owned = cleanup.move();
  return {
    driver,
    model,
    slots,
    working: () => server.working(),
    kill: () => server.kill(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

describe.skipIf(gate.skip)(gate.title("TGIS"), () => {
  const traits = {
    shapes,
    cancels: true,
    knowsModels: false,
    lacks: ["frequencyPenalty", "presencePenalty", "minP"],
  } as const;
  describeDriver("over its gRPC", traits, startServer);
});
