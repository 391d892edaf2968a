import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { requireEngines } from "../availability.ts";
import { createTritonClient } from "./client.ts";
import { startTriton, type TritonServer } from "./server.ts";

const gate = await requireEngines("triton");

async function sharedMemoryOfThisProcess(): Promise<string[]> {
  return (await readdir("/dev/shm")).filter((name) => name.startsWith(`weir_${process.pid}_`));
}

describe.skipIf(gate.skip)(gate.title("two Triton servers at the same time"), () => {
  let servers: TritonServer[];
  beforeAll(async () => {
    const options = { models: ["vllm_model"] as const, parameters: { vllm_model: { slots: "1" } } };
    servers = await Promise.all([startTriton(options), startTriton(options)]);
  });
  afterAll(async () => {
    for (const server of servers ?? []) await server[Symbol.asyncDispose]();
    expect(await sharedMemoryOfThisProcess()).toEqual([]);
  });

  function server(index: number): TritonServer {
    const found = servers[index];
    if (found === undefined) throw new Error("not started");
    return found;
  }

  test("have their own ports and logs", async () => {
    expect(server(0).grpcAddress).not.toBe(server(1).grpcAddress);
    const before = (await server(1).log()).length;
    using client = createTritonClient(server(0).grpcAddress);
    const stream = client.infer("vllm_model", { text_input: "hi" }, { batched: false, requestId: "mine" });
    for await (const message of stream) expect(message.errorMessage).toBe("");
    expect((await server(0).log()).at(-1)).toMatchObject({ requestId: "mine", event: "finished" });
    expect(await server(1).log()).toHaveLength(before);
  });

  test("show a request that waits for a slot in the log and in the metrics", async () => {
    using client = createTritonClient(server(0).grpcAddress);
    const hanging = client.infer("vllm_model", { text_input: "[[hang]]" }, { batched: false, requestId: "holds" });
    await server(0).untilLog((events) =>
      events.some(({ requestId, event }) => requestId === "holds" && event === "started"),
    );
    const waiting = client.infer("vllm_model", { text_input: "hi" }, { batched: false, requestId: "waits" });
    await server(0).untilLog((events) => events.some(({ requestId }) => requestId === "waits"));
    const gauge = async () =>
      /^vllm:num_requests_waiting\{.*\} (\d+)/m.exec(await (await fetch(server(0).metricsUrl)).text())?.[1];
    await expect.poll(gauge).toBe("1");
    hanging.cancel();
    for await (const message of waiting) expect(message.errorMessage).toBe("");
    await expect.poll(gauge).toBe("0");
  });

  test("a model whose process died says so, and its server still stops", async () => {
    using client = createTritonClient(server(0).grpcAddress);
    const dying = client.infer("vllm_model", { text_input: "[[crash]]" }, { batched: false });
    await server(0).untilLog((events) => events.at(-1)?.event === "started");
    await expect
      .poll(
        async () => {
          const errors: string[] = [];
          const stream = client.infer("vllm_model", { text_input: "hi" }, { batched: false });
          for await (const message of stream) errors.push(message.errorMessage);
          return errors.join();
        },
        { timeout: 15_000 },
      )
      .toContain("is not healthy");
    dying.cancel();
    await server(0)[Symbol.asyncDispose]();
  });

  test("a killed server leaves no shared memory behind", async () => {
    expect(await sharedMemoryOfThisProcess()).not.toEqual([]);
    await server(1).kill();
    await server(1)[Symbol.asyncDispose]();
    expect(await sharedMemoryOfThisProcess()).toEqual([]);
  });
});
