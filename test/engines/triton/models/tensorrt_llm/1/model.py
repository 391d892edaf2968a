"""The generator with the tensors of TensorRT-LLM's core model.

It streams new ids only, stops at the end id and at stop words, looks whether its client cancelled, and ends the request
with the same id when a request says `stop`.
"""

import json
import os
import sys
import threading
import time

import numpy
import triton_python_backend_utils as pb_utils

sys.path.insert(0, os.environ["TOY_LLM_PATH"])

from toy_llm import directives, metrics, tensors, tokenizer  # noqa: E402
from toy_llm.events import EventLog  # noqa: E402
from toy_llm.pace import Cancelled, Load, Pace, Stopped  # noqa: E402
from toy_llm.sequence import Sequence  # noqa: E402

LOG_PROBABILITY = -0.5


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.delay_ms = float(tensors.model_parameter(config, "delay_ms", "0"))
        self.max_input_len = int(tensors.model_parameter(config, "max_input_len", "8192"))
        self.exclude_input = tensors.model_parameter(config, "exclude_input_in_output", "false")
        slots = int(tensors.model_parameter(config, "slots", "256"))
        self.load = Load(slots, metrics.tensorrt_llm_gauges(args["model_name"], args["model_version"], slots))
        self.log = EventLog(args["model_name"])
        self.running = {}
        self.running_lock = threading.Lock()

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            inputs = tensors.Inputs(request)
            if inputs.scalar("stop", False):
                self.stop(request.request_id(), sender)
                continue
            generation = Generation(self, request, inputs, sender)
            with self.running_lock:
                self.running.setdefault(generation.entry.id, []).append(generation)
            threading.Thread(target=self.run, args=(generation,), daemon=True).start()

    def stop(self, request_id, sender):
        self.log.write(request_id, "stop requested", {})
        with self.running_lock:
            for generation in self.running.get(request_id, ()):
                generation.stopped.set()
        sender.send(flags=tensors.FINAL)

    def run(self, generation):
        try:
            generation.run()
        finally:
            with self.running_lock:
                same_id = self.running[generation.entry.id]
                same_id.remove(generation)
                if not same_id:
                    del self.running[generation.entry.id]


class Generation:
    def __init__(self, model, request, inputs, sender):
        self.model = model
        self.inputs = inputs
        self.sender = sender
        self.wanted = set(request.requested_output_names())
        self.stopped = threading.Event()
        self.prompt = inputs.ids("input_ids")
        self.streaming = inputs.scalar("streaming", False)
        self.produced = 0
        self.times = {"arrival_time_ns": time.time_ns()}
        self.entry = model.log.received(request.request_id(), inputs.loggable())

    def check(self):
        if self.stopped.is_set():
            raise Stopped
        if self.sender.is_cancelled():
            raise Cancelled

    def run(self):
        try:
            self.generate()
        except Stopped:
            self.entry.end("stopped", count=self.produced)
            self.sender.send(flags=tensors.FINAL)
        except Cancelled:
            self.entry.end("cancelled", count=self.produced)
            cancelled = tensors.failure("Request was cancelled", code=pb_utils.TritonError.CANCELLED)
            self.sender.send(cancelled, flags=tensors.FINAL)
        except Exception as error:
            self.entry.end("error", count=self.produced, text=str(error))
            self.sender.send(tensors.failure(str(error)), flags=tensors.FINAL)

    def generate(self):
        self.refuse()
        commands = directives.parse(tokenizer.decode(self.prompt), self.model.delay_ms)
        sequences = [self.sequence(index, commands) for index in range(self.inputs.scalar("num_return_sequences", 1))]
        self.model.load.acquire(self.check)
        try:
            self.times["first_scheduled_time_ns"] = time.time_ns()
            self.entry.event("started")
            self.steps(sequences, Pace(commands, self.check))
        finally:
            self.model.load.release()

    def refuse(self):
        if len(self.prompt) > self.model.max_input_len:
            raise RuntimeError(
                f"Encountered an error when fetching new request: Prompt length ({len(self.prompt)}) exceeds "
                f"maximum input length ({self.model.max_input_len})."
            )
        if self.inputs.scalar("request_output_len", 0) <= 0:
            raise RuntimeError("request_output_len must be greater than zero")
        if self.streaming and self.inputs.scalar("beam_width", 1) > 1:
            raise RuntimeError("beam width must be 1 when streaming")

    def sequence(self, index, commands):
        return Sequence(
            self.prompt,
            self.inputs.scalar("seed", 0),
            index,
            self.inputs.scalar("request_output_len"),
            commands,
            min_tokens=self.inputs.scalar("min_tokens", 0),
            end_id=self.inputs.scalar("end_id", tokenizer.END),
            stop_words=self.inputs.words("stop_words_list"),
        )

    def steps(self, sequences, pace):
        """One token for each unfinished sequence, over and over."""
        step = 0
        while open_sequences := [sequence for sequence in sequences if sequence.finish is None]:
            pace.before_token(step)
            for sequence in open_sequences:
                token = sequence.step()
                self.note_token(step)
                done = all(other.finish is not None for other in sequences)
                if done:
                    self.note_end(sequences)
                if self.streaming:
                    self.send(sequences.index(sequence), [token], 1, done)
            step += 1
        if not self.streaming:
            for index, sequence in enumerate(sequences):
                prompt = [] if self.excludes_prompt() else self.prompt
                self.send(index, prompt + sequence.ids, len(sequence.ids), index == len(sequences) - 1)

    def excludes_prompt(self):
        return self.inputs.scalar("exclude_input_in_output", self.model.exclude_input == "true")

    def note_token(self, step):
        self.produced += 1
        self.times["last_token_time_ns"] = time.time_ns()
        if self.produced == 1:
            self.times["first_token_time_ns"] = time.time_ns()
            self.entry.event("first")
        self.entry.event("produced", count=self.produced)

    def note_end(self, sequences):
        texts = [tokenizer.decode(sequence.ids) for sequence in sequences]
        self.entry.end(
            "finished", count=self.produced, texts=texts, finishReasons=[sequence.finish for sequence in sequences]
        )

    def send(self, index, ids, new_tokens, final):
        outputs = {
            "output_ids": numpy.array([[ids]], numpy.int32),
            "sequence_length": numpy.array([[len(ids)]], numpy.int32),
            "batch_index": numpy.array([[0]], numpy.int32),
            "sequence_index": numpy.array([[index]], numpy.int32),
        }
        if self.inputs.scalar("return_num_input_tokens", False):
            outputs["num_input_tokens"] = numpy.array([[len(self.prompt)]], numpy.int32)
        if self.inputs.scalar("return_num_output_tokens", False):
            outputs["num_output_tokens"] = numpy.array([[new_tokens]], numpy.int32)
        if self.inputs.scalar("return_log_probs", False):
            outputs["output_log_probs"] = numpy.full((1, 1, new_tokens), LOG_PROBABILITY, numpy.float32)
            outputs["cum_log_probs"] = numpy.array([[LOG_PROBABILITY * new_tokens]], numpy.float32)
        if final and self.inputs.scalar("return_perf_metrics", False):
            outputs |= {name: numpy.array([[at]], numpy.int64) for name, at in self.times.items()}
            for name in ("alloc_new_blocks", "reused_blocks", "alloc_total_blocks"):
                outputs[f"kv_cache_{name}"] = numpy.array([[0]], numpy.int32)
        self.sender.send(tensors.response(outputs, self.wanted), flags=tensors.FINAL if final else 0)
