"""Runs the llama.cpp server until SIGTERM. usage: serve.py <model.gguf> <alias> <slots> <context tokens per slot> [embeddings]

Its first line on stdout is the address that the kernel gave it: {"url": "http://127.0.0.1:40000"}.
"""

import json
import os
import signal
import sys

import xllamacpp


def main() -> None:
    model, alias, slots, context = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.model_alias = {alias}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = slots
    parameters.n_ctx = slots * context
    parameters.n_gpu_layers = 0
    parameters.cpuparams.n_threads = 1  # the model is too small to gain from a second one
    parameters.cpuparams_batch.n_threads = 1
    parameters.fit_params = False
    # As exact as vLLM's, so that greedy answers are the same tokens.
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.cache_ram_mib = 0
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = True
    parameters.ui = False
    if sys.argv[5:] == ["embeddings"]:
        parameters.embedding = True
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server = xllamacpp.Server(parameters)
    print(json.dumps({"url": server.listening_address}), flush=True)
    signal.sigwait(signals)
    # Its own clean-up waits for generations that nobody reads any more.
    os._exit(0)


main()
