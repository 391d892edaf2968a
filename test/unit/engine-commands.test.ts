import { describe, expect, test } from "vitest";
import { parseFlags } from "../../services/runtime/config/flags.ts";
import { orderEngine } from "../../services/order-engine.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { startSimulator } from "../../services/simulator/simulator.ts";

const url = "grpc://127.0.0.1:8001";

describe("the commands of `engines`", () => {
  test.each([
    ["probe", [], ""],
    ["models", [], ""],
    ["load", ["m"], "m"],
    ["unload", ["m"], "m"],
  ])("%s", (name, more, engineModel) => {
    const credential = ["--engine-key-file", "key", "--engine-key-header", "x-key"];
    const parsed = parseFlags(["engines", name, url, ...more, ...credential]);
    expect(parsed).toMatchObject({
      flags: {
        command: `engines ${name}`,
        engines: [url],
        engineModel,
        engineKeyFile: "key",
        engineKeyHeader: "x-key",
      },
    });
  });

  test.each([
    [["engines", "load", url], "write: engines load URL MODEL"],
    [["engines", "models", url, "m"], "write: engines models URL"],
    [["engines", "toString", url], "write: engines probe URL, or engines models URL, or engines load URL MODEL"],
    [["engines"], "write: engines probe URL"],
    [["engines", "unload", "ftp://x", "m"], "engines unload ftp://x: scheme ftp is not spoken"],
    [["engines", "probe", url, "--engine-key-header", "x"], "--engine-key-header goes with --engine-key-file"],
    [["engines", "probe", url, "--engine-key-file", "k", "--engine-key-header", "X: y"], "is no name of a header"],
    [["--engine-key-file", "key"], "--engine-key-file goes with `engines probe` and its like"],
  ])("%j is refused with what to write", (args, problem) => {
    const parsed = parseFlags(args);
    expect("problems" in parsed && parsed.problems.join("\n")).toContain(problem);
  });

  test("an engine without such orders, and none, are told apart", async () => {
    await using simulator = await startSimulator({ openai: { port: 0 } });
    const order = { command: "engines models", engineModel: "" } as const;
    expect(await orderEngine({ ...order, url: simulator.httpUrl }, undefined, systemClock)).toMatchObject({
      kind: "failed",
      problem: expect.stringContaining("its protocol has no such orders"),
    });
    expect(await orderEngine({ ...order, url: "http://127.0.0.1:1" }, undefined, systemClock)).toMatchObject({
      kind: "failed",
      problem: expect.stringContaining("nothing answers there"),
    });
  });
});
