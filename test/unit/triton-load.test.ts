import { toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { ReplicaLoadSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { loadIn, metricsUrlOf } from "../../services/drivers/triton/load.ts";

/** What Triton counts itself, of requests that failed, left or wait inside an engine. */
const own = `
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="ensemble",version="1"} 7
nv_inference_pending_request_count{model="ensemble",version="1"} 0
nv_inference_queue_duration_us{model="ensemble",version="1"} 31
`;
const tensorrt = `
# TYPE nv_trt_llm_request_metrics gauge
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"} 9
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 4
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 5
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 256
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.25
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="tensorrt_llm",version="1"} 300
`;
const vllm = `
vllm:num_requests_running{model="vllm_model",version="1"} 2
vllm:num_requests_waiting{model="vllm_model",version="1"} 1
vllm:gpu_cache_usage_perc{model="vllm_model",version="1"} 0.5
`;

describe("how busy a Triton is", () => {
  test.each([
    ["is not known from what it counts itself", own, [-1, -1, -1]],
    ["TensorRT-LLM says", own + tensorrt, [4, 5, 0.25]],
    ["the vLLM backend says", own + vllm, [2, 1, 0.5]],
    ["both add up, and the fullest cache counts", tensorrt + vllm, [6, 6, 0.5]],
  ])("%s", (_, metrics, [running, waiting, kvUsed]) => {
    expect(loadIn(metrics)).toMatchObject({ running, waiting, kvUsed });
  });

  test("that nobody can be is bounded by what the catalogue can tell", () => {
    const absurd = ["scheduled", "waiting"].map((type) => `nv_trt_llm_request_metrics{request_type="${type}"} 1e300\n`);
    const most = 2 ** 31 - 1;
    const load = loadIn(absurd.join(""));
    expect(load).toMatchObject({ running: most, waiting: most });
    expect(() => toBinary(ReplicaLoadSchema, load)).not.toThrow();
  });

  test.each([
    ["grpc://gpu-1:8001", undefined, "http://gpu-1:8002"],
    ["grpc://gpu-1:9001", undefined, undefined],
    ["grpc://gpu-1:8001", "http://gpu-1:9002", "http://gpu-1:9002"],
    ["grpc://[::1]:8001", undefined, "http://[::1]:8002"],
  ])("its metrics: %s, %s", (url, httpUrl, expected) => {
    expect(metricsUrlOf({ url, httpUrl })).toBe(expected);
  });
});
