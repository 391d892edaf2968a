import { describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { attemptAt, run, targetAt } from "../wire/attempts.ts";
import { requireEngines } from "./availability.ts";
import { startTriton } from "./triton/server.ts";

const gate = await requireEngines("triton");

describe.skipIf(gate.skip)(gate.title("a Triton with restricted protocols"), () => {
  test("lets in who has the key in its header", async () => {
    const protocols = "health,metadata,model-config,model-repository,inference";
    await using server = await startTriton({
      models: ["vllm_model"],
      flags: [`--grpc-restricted-protocol=${protocols}:weir=s3cret`],
    });
    const url = `grpc://${server.grpcAddress}`;
    const named = { engineKey: "s3cret", engineKeyHeader: "triton-grpc-protocol-weir" };
    await using driver = openDriver(Dialect.TRITON, targetAt(url, named));
    const [model] = (await driver.probe(AbortSignal.timeout(10_000))).models;
    if (!model) throw new Error("no model");
    const asked = attemptAt(model, { input: { case: "prompt", value: "[[say:in]]" } });
    expect((await run(driver, asked)).text()).toBe("in");

    for (const wrong of [{ engineKey: "s3cret" }, { ...named, engineKey: "other" }]) {
      await using locked = openDriver(Dialect.TRITON, targetAt(url, wrong));
      await expect(locked.probe(AbortSignal.timeout(10_000))).rejects.toMatchObject({ message: /credential/ });
      expect((await run(locked, asked)).reason).toBe("ENGINE_CREDENTIAL");
    }
  }, 120_000);
});
