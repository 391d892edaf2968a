import { spawnSync } from "node:child_process";
import { connect } from "node:net";
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";
import { callTriton, requestFor, vllm } from "./triton-calls.ts";

const main = resolve(import.meta.dirname, "../../services/simulator/main.ts");

const chat = (url: string, id: string, content: string, more: object = {}) =>
  fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "x-request-id": id },
    body: JSON.stringify({ model: "weir-sim", messages: [{ role: "user", content }], ...more }),
  });

describe("the simulator as a process", () => {
  test("serves both protocols from one engine, as fast and as large as its flags say", async () => {
    await using simulator = await startSimulatorProcess(["--decode-ms", "0", "--context", "100", "--slots", "1"]);
    using calls = callTriton(simulator.grpcUrl);
    const [answered, { texts }] = await Promise.all([
      chat(simulator.httpUrl, "over-http", "hello", { max_tokens: 3 }),
      calls.infer(requestFor("over-grpc", "vllm_model", vllm("hello"))),
    ]);
    expect(answered.status).toBe(200);
    expect(texts.length).toBeGreaterThan(5);
    expect((await chat(simulator.httpUrl, "long", "x".repeat(400))).status).toBe(400);
    const ended = simulator.record().filter(({ event }) => event === "finished");
    expect(ended.map(({ id }) => id).toSorted()).toEqual(["over-grpc", "over-http"]);
    // One slot: the second started when the first had ended.
    const order = simulator.record().filter(({ event }) => event === "started" || event === "finished");
    expect(order.map(({ event }) => event)).toEqual(["started", "finished", "started", "finished"]);
  });

  test("listens and calls its model as it is told", async () => {
    await using simulator = await startSimulatorProcess(["--model", "one", "--model", "two", "--no-decoupled"]);
    const { data } = JSON.parse(await (await fetch(`${simulator.httpUrl}/v1/models`)).text());
    expect(data.map(({ id }: { id: string }) => id)).toEqual(["one", "two"]);
    const port = new URL(simulator.httpUrl).port;
    const taken = spawnSync(process.execPath, [main, "--http-port", port], { encoding: "utf8", timeout: 20_000 });
    expect(taken.status).not.toBe(0);
    expect(taken.stderr).toContain("EADDRINUSE");
  });

  test("ends in order at SIGTERM, whatever runs, and records what it gave up", async () => {
    await using simulator = await startSimulatorProcess();
    const hanging = chat(simulator.httpUrl, "hangs", "[[sim hang]]").catch(() => "cut");
    await eventually("it runs", () => simulator.record().some(({ event }) => event === "started"));
    expect(await simulator.stop()).toBe(0);
    expect(await hanging).toBe("cut");
    expect(simulator.record().map(({ event }) => event)).toEqual(["received", "started", "cancelled"]);
  });

  test("leaves a whole record behind when it is killed", async () => {
    await using simulator = await startSimulatorProcess(["--decode-ms", "1"]);
    const asked = Array.from({ length: 20 }, (_, i) =>
      chat(simulator.httpUrl, `killed-${i}`, "[[sim drip after=3 ms=60000]]").catch(() => "cut"),
    );
    await eventually(
      "all have produced",
      () => simulator.record().filter(({ event }) => event === "produced").length === 20,
    );
    await simulator.kill("SIGKILL");
    expect(await Promise.all(asked)).toEqual(asked.map(() => "cut"));
    const events = simulator.record().map(({ event }) => event);
    for (const event of ["received", "started", "produced"])
      expect(events.filter((each) => each === event)).toHaveLength(20);
    expect(events).toHaveLength(60);
  });

  test("kills itself at a commanded crash, and its record says so", async () => {
    await using simulator = await startSimulatorProcess();
    await expect(chat(simulator.httpUrl, "poison", "[[sim crash]]")).rejects.toThrow("fetch failed");
    // Its connections close one by one; no exit code means that it was killed.
    expect(await simulator.stop()).toBeNull();
    const { port } = new URL(simulator.httpUrl);
    const refused = await new Promise((done) => connect(Number(port), "127.0.0.1").once("error", done));
    expect(refused).toMatchObject({ code: "ECONNREFUSED" });
    expect(simulator.record().at(-1)).toMatchObject({ id: "poison", event: "failed", fault: "crash" });
  });

  test.each([
    ["--slots", "many"],
    ["--colour", "red"],
    ["--decode-ms", ""],
  ])("refuses %s %s with its usage", (...flags) => {
    const { status, stderr } = spawnSync(process.execPath, [main, ...flags], { encoding: "utf8", timeout: 20_000 });
    expect(status).toBe(64);
    expect(stderr).toContain("usage:");
  });
});
