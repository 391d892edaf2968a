import { create } from "@bufbuild/protobuf";
import { type ReplicaLoad, ReplicaLoadSchema } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { sleep } from "../../runtime/clock.ts";
import type { Target } from "../driver.ts";
import type { Connection } from "../http/connection.ts";
import { samples, total, unknownLoad } from "../http/gauges.ts";
import { askFreely } from "../http/question.ts";

/** Where Triton serves its metrics unless it is told otherwise, and the gRPC port that goes with it. */
const portsDefault = { grpc: "8001", metrics: "8002" };

/** A probe does not wait longer for its metrics: a firewall may swallow what is sent to their port. */
const metricsTimeoutMs = 1_000;

/** The address whose `/metrics` are a Triton's: the one that is configured, else the usual one; undefined if neither is known. */
export function metricsUrlOf({ url, httpUrl }: Pick<Target, "url" | "httpUrl">): string | undefined {
  if (httpUrl !== undefined) return httpUrl;
  const { hostname, port } = new URL(url);
  return port === portsDefault.grpc ? `http://${hostname}:${portsDefault.metrics}` : undefined;
}

/** Asks how busy a server is. It is not known where the metrics do not come. */
export async function askLoad(connection: Connection, { clock }: Target, signal: AbortSignal): Promise<ReplicaLoad> {
  const ended = new AbortController();
  const late = sleep(clock, metricsTimeoutMs, ended.signal).then((passed) => {
    if (passed) ended.abort();
    return { status: 0, text: "" };
  });
  try {
    const limited = AbortSignal.any([signal, ended.signal]);
    const { status, text } = await Promise.race([
      askFreely(connection, `${connection.rootPath}/metrics`, limited),
      late,
    ]);
    return status === 200 ? loadIn(text) : unknownLoad();
  } finally {
    ended.abort();
  }
}

/**
 * How busy a server is by the gauges that its engines set themselves: those of TensorRT-LLM and of the vLLM backend. The
 * requests of all models add up, and the fullest cache counts.
 *
 * Triton's own metrics say nothing of that: `nv_inference_pending_request_count` knows no queue inside a backend, its times
 * end when an engine takes a request, and its counts of successes hold failures and cancels.
 */
export function loadIn(metrics: string): ReplicaLoad {
  const requests = (type: string) => samples(metrics, "nv_trt_llm_request_metrics", `request_type="${type}"`);
  const kvUsed = [
    ...samples(metrics, "nv_trt_llm_kv_cache_block_metrics", 'kv_cache_block_type="fraction"'),
    ...samples(metrics, "vllm:gpu_cache_usage_perc"),
    ...samples(metrics, "vllm:kv_cache_usage_perc"),
  ];
  return create(ReplicaLoadSchema, {
    running: total([...requests("scheduled"), ...samples(metrics, "vllm:num_requests_running")]),
    waiting: total([...requests("waiting"), ...samples(metrics, "vllm:num_requests_waiting")]),
    kvUsed: kvUsed.length === 0 ? -1 : Math.min(1, Math.max(...kvUsed)),
  });
}
