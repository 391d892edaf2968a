import { describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { startGateway } from "../fakes/gateway.ts";
import { attemptAt, start, targetAt } from "../wire/attempts.ts";
import { requireEngines } from "./availability.ts";
import { openRequests } from "./triton/event-log.ts";
import { startTriton, type TritonServer } from "./triton/server.ts";

const gate = await requireEngines("triton");

const endless = "[[tokens=4000]] [[delay_ms=20]] on and on";
const origin = ({ metricsUrl }: TritonServer) => new URL(metricsUrl).origin;
const calm = () => AbortSignal.timeout(10_000);

describe.skipIf(gate.skip)(gate.title("how busy a real Triton is"), () => {
  test("is what its engines say, their queues included, and nothing that Triton counts itself", async () => {
    const parameters = { tensorrt_llm: { slots: "1" }, vllm_model: { slots: "1" } };
    await using server = await startTriton({ parameters });
    const target = targetAt(`grpc://${server.grpcAddress}`, { httpUrl: origin(server) });
    await using driver = openDriver(Dialect.TRITON, target);
    const { models, load: idle } = await driver.probe(calm());
    expect(idle).toMatchObject({ running: 0, waiting: 0, kvUsed: 0 });
    const begin = (name: string) => {
      const model = models.find(({ engineModel }) => engineModel === name);
      if (!model) throw new Error(`no ${name}`);
      return start(driver, attemptAt(model, { input: { case: "prompt", value: endless } }, { maxTokens: 4_000 }));
    };
    const running = ["ensemble", "ensemble", "ensemble", "vllm_model", "vllm_model"].map(begin);
    const load = async () => {
      const { running: runs, waiting, kvUsed } = (await driver.probe(calm())).load;
      return [runs, waiting, kvUsed];
    };
    await expect.poll(load, { timeout: 10_000 }).toEqual([2, 3, 1]);
    for (const one of running) one.cancel();
    await expect.poll(load, { timeout: 10_000 }).toEqual([0, 0, 0]);
  }, 120_000);

  test("sends requests to the replica that others leave alone", async () => {
    await using busy = await startTriton({ models: ["vllm_model"] });
    await using idle = await startTriton({ models: ["vllm_model"] });
    const replica = (id: string, server: TritonServer) =>
      `{ id: ${id}, url: "grpc://${server.grpcAddress}", http_url: "${origin(server)}" }`;
    await using others = openDriver(Dialect.TRITON, targetAt(`grpc://${busy.grpcAddress}`));
    const [model] = (await others.probe(calm())).models;
    if (!model) throw new Error("no model");
    const theirs = Array.from({ length: 6 }, () =>
      start(others, attemptAt(model, { input: { case: "prompt", value: endless } }, { maxTokens: 4_000 })),
    );
    await busy.untilLog((events) => openRequests(events).length === theirs.length);
    await using gateway = await startGateway(
      [
        "pools:",
        `  - { id: triton, replicas: [${replica("busy", busy)}, ${replica("idle", idle)}] }`,
        "models:",
        "  - { id: m, pool: triton, engine_model: vllm_model }",
        "",
      ].join("\n"),
    );
    const ours = Array.from({ length: 4 }, () =>
      gateway.ask("/v1/completions", { model: "m", prompt: "[[tokens=3]]" }),
    );
    for (const request of ours) expect((await request.done())?.status).toBe(200);
    const went = () => gateway.generations().map(({ attempts }) => attempts.map(({ replica: id }) => id));
    await expect.poll(went, { timeout: 5_000 }).toEqual(ours.map(() => ["idle"]));
    for (const one of theirs) one.cancel();
  }, 120_000);
});
