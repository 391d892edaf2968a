import { expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { createMetrics } from "../../../services/runtime/telemetry/metrics.ts";

const endpoint = "chat_completions";

/** Lines of one metric. */
async function linesOf(metrics: ReturnType<typeof createMetrics>, name: string): Promise<string[]> {
  return (await metrics.text()).split("\n").filter((line) => line.startsWith(name));
}

test("a model that does not exist makes no series of its own", async () => {
  const metrics = createMetrics();
  metrics.models(["real"]);
  for (let index = 0; index < 100; index++) {
    metrics.request({ endpoint, model: `made-up-${index}`, outcome: ErrorReason.MODEL_NOT_FOUND }, 1);
  }
  metrics.request({ endpoint, model: "real", outcome: "ok" }, 1);
  expect(await linesOf(metrics, "weir_requests_total")).toEqual([
    `weir_requests_total{endpoint="chat_completions",model="other",outcome="model_not_found"} 100`,
    `weir_requests_total{endpoint="chat_completions",model="real",outcome="ok"} 1`,
  ]);
});

test("times are exported in seconds", async () => {
  const metrics = createMetrics();
  metrics.models(["m"]);
  metrics.request({ endpoint, model: "m", outcome: "ok" }, 1_500);
  metrics.timeToFirstToken({ endpoint, model: "m" }, 250);
  metrics.rpc("a.v1.B/C", "ok", 100);
  const text = await metrics.text();
  expect(text).toContain('weir_request_duration_seconds_sum{endpoint="chat_completions",model="m"} 1.5');
  expect(text).toContain('weir_time_to_first_token_seconds_sum{endpoint="chat_completions",model="m"} 0.25');
  expect(text).toContain('weir_rpc_duration_seconds_sum{method="a.v1.B/C"} 0.1');
});

test("tokens are counted with their source, and none make no series", async () => {
  const metrics = createMetrics();
  metrics.models(["m"]);
  metrics.tokens({ model: "m", kind: "prompt", source: CountSource.ENGINE }, 7);
  metrics.tokens({ model: "m", kind: "cached", source: CountSource.ENGINE }, 0);
  expect(await linesOf(metrics, "weir_tokens_total")).toEqual([
    'weir_tokens_total{model="m",kind="prompt",source="engine"} 7',
  ]);
});

test("what is in flight goes down once, under the name that it went up with", async () => {
  const metrics = createMetrics();
  metrics.models(["m"]);
  const release = metrics.inFlight("m");
  const other = metrics.inFlight("m");
  metrics.models([]);
  release();
  release();
  expect(await linesOf(metrics, "weir_requests_in_flight")).toEqual(['weir_requests_in_flight{model="m"} 1']);
  other();
});

test("an RPC's time falls into the first bucket that holds it", async () => {
  const metrics = createMetrics();
  for (const durationMs of [0.5, 0.51, 9, 1e9]) metrics.rpc("m", "ok", durationMs);
  const buckets = (await linesOf(metrics, "weir_rpc_duration_seconds_bucket")).map((line) =>
    Number(line.split(" ")[1]),
  );
  expect(buckets).toEqual([1, 2, 3, 3, 3, 3, 3, 3, 3, 4]);
});
