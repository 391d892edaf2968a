import { expect, test } from "vitest";
import { keys, startEdge } from "../fakes/edge-server.ts";
import { installPythonClient, runPythonScenarios } from "./python/python-client.ts";

const client = await installPythonClient();
if ("missing" in client) {
  if (process.env["CI"] === "true") throw new Error(client.missing);
  process.stderr.write(`\n!!! SKIPPED: ${client.missing}\n\n`);
}
const why = "missing" in client ? ` [SKIPPED: ${client.missing}]` : "";

test.skipIf("missing" in client)(`the official client for Python${why}`, { timeout: 90_000 }, async () => {
  await using edge = await startEdge();
  const python = "python" in client ? client.python : "";
  const outcomes = await runPythonScenarios(python, { url: edge.url, apiKey: keys.good, model: "meta/llama-3:8b" });
  expect(outcomes.length).toBeGreaterThan(10);
  expect(outcomes.filter(({ failure }) => failure !== null)).toEqual([]);
});
