"""The custom metric families by which a gateway sees an engine's own queue."""

import triton_python_backend_utils as pb_utils


def _gauge(name, description):
    return pb_utils.MetricFamily(name=name, description=description, kind=pb_utils.MetricFamily.GAUGE)


class tensorrt_llm_gauges:
    """Call it with (active, waiting). It holds the families: a metric lives as long as its family."""

    def __init__(self, model: str, version: str, slots: int):
        self._requests = _gauge("nv_trt_llm_request_metrics", "TRT LLM request metrics")
        self._blocks = _gauge("nv_trt_llm_kv_cache_block_metrics", "TRT LLM KV cache block metrics")
        self._slots = slots
        labels = {"model": model, "version": version}
        kinds = ("active", "scheduled", "waiting", "context", "max")
        self._by_kind = {kind: self._requests.Metric(labels=labels | {"request_type": kind}) for kind in kinds}
        self._fraction = self._blocks.Metric(labels=labels | {"kv_cache_block_type": "fraction"})
        self._by_kind["max"].set(slots)
        self(0, 0)

    def __call__(self, active: int, waiting: int) -> None:
        self._by_kind["active"].set(active + waiting)
        self._by_kind["scheduled"].set(active)
        self._by_kind["waiting"].set(waiting)
        self._by_kind["context"].set(0)
        self._fraction.set(active / self._slots)


class vllm_gauges:
    """As above, under the names that vLLM uses."""

    def __init__(self, model: str, version: str, slots: int):
        self._slots = slots
        labels = {"model": model, "version": version}
        self._families = {
            name: _gauge(f"vllm:{name}", "vLLM scheduler")
            for name in ("num_requests_running", "num_requests_waiting", "gpu_cache_usage_perc")
        }
        self._metrics = {name: family.Metric(labels=labels) for name, family in self._families.items()}
        self(0, 0)

    def __call__(self, active: int, waiting: int) -> None:
        self._metrics["num_requests_running"].set(active)
        self._metrics["num_requests_waiting"].set(waiting)
        self._metrics["gpu_cache_usage_perc"].set(active / self._slots)
