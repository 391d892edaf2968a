"""The tensors and the manners of TensorRT-LLM's LLM API behind Triton, on a toy generator.

Each response of a stream holds the whole text so far; nothing counts tokens; the likeliest token is taken each time where
neither a temperature nor top_k and top_p are said; a cancel is looked for every 100 ms; a request with the same id and
`stop` ends another. A stop text is found by its tokens: of a stream only the last of them is left out.
"""

import codecs
import json
import os
import sys
import threading
import time

import triton_python_backend_utils as pb_utils

sys.path.insert(0, os.environ["TOY_LLM_PATH"])

from toy_llm import directives, tensors, tokenizer  # noqa: E402
from toy_llm.events import EventLog  # noqa: E402
from toy_llm.pace import Cancelled, Load, Pace, Stopped  # noqa: E402
from toy_llm.sequence import Sequence  # noqa: E402

CANCELLATION_CHECK_SECONDS = 0.1
GREEDY_SEED = 0


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.decoupled = config.get("model_transaction_policy", {}).get("decoupled", False)
        self.delay_ms = float(tensors.model_parameter(config, "delay_ms", "0"))
        self.max_seq_len = int(tensors.model_parameter(config, "max_seq_len", "8192"))
        self.load = Load(int(tensors.model_parameter(config, "slots", "256")))
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
                self.running[generation.entry.id] = generation
            threading.Thread(target=self.run, args=(generation,), daemon=True).start()

    def stop(self, request_id, sender):
        self.log.write(request_id, "stop requested", {})
        if request_id == "":
            error = tensors.failure("A request id must be provided for request cancellation")
            return sender.send(error, flags=tensors.FINAL)
        with self.running_lock:
            found = self.running.get(request_id)
        if found is not None:
            found.stopped.set()
        sender.send(cancelled(), flags=tensors.FINAL)

    def run(self, generation):
        try:
            generation.run()
        finally:
            with self.running_lock:
                if self.running.get(generation.entry.id) is generation:
                    del self.running[generation.entry.id]


def cancelled():
    return tensors.failure("Request cancelled by client", code=pb_utils.TritonError.CANCELLED)


class Generation:
    def __init__(self, model, request, inputs, sender):
        self.model = model
        self.inputs = inputs
        self.sender = sender
        self.prompt_text = inputs.text("text_input", "")
        self.prompt = tokenizer.encode(self.prompt_text)
        self.streaming = inputs.scalar("streaming", False)
        self.stopped = threading.Event()
        self.looked_at = 0.0
        self.produced = 0
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.text = ""
        self.stop_reason = None
        self.entry = model.log.received(request.request_id(), inputs.loggable())

    def check(self):
        if self.stopped.is_set():
            raise Stopped
        now = time.monotonic()
        if now - self.looked_at >= CANCELLATION_CHECK_SECONDS:
            self.looked_at = now
            if self.sender.is_cancelled():
                raise Cancelled

    def run(self):
        try:
            self.generate()
        except Cancelled:
            self.entry.end("cancelled", count=self.produced)
            self.sender.send(cancelled(), flags=tensors.FINAL)
        except Stopped:
            self.entry.end("stopped", count=self.produced)
            self.send("cancelled", final=True)
        except Exception as error:
            self.entry.end("error", count=self.produced, text=str(error))
            not_available = {"text_output": tensors.text_array("N/A")}
            failure = tensors.failure(f"Error generating request: {error}", not_available)
            self.sender.send(failure, flags=tensors.FINAL)

    def generate(self):
        if self.streaming and not self.model.decoupled:
            raise ValueError("Streaming is only supported in decoupled mode.")
        if self.inputs.scalar("sampling_param_temperature", 0) < 0:
            raise ValueError(f"require temperature >= 0, got temperature={self.temperature()}")
        room = self.model.max_seq_len - len(self.prompt)
        if room <= 0:
            raise ValueError(
                f"The sum of prompt length ({float(len(self.prompt))}), query length (0) should not exceed "
                f"max_num_tokens ({self.model.max_seq_len})"
            )
        commands = directives.parse(self.prompt_text, self.model.delay_ms)
        max_tokens = min(self.inputs.scalar("sampling_param_max_tokens", 32), room)
        stops = {stop: tokenizer.encode(stop) for stop in self.inputs.texts("sampling_param_stop")}
        sequence = Sequence(self.prompt, self.seed(), 0, max_tokens, commands, stop_words=list(stops.values()))
        self.model.load.acquire(self.check)
        try:
            self.entry.event("started")
            self.steps(sequence, Pace(commands, self.check), stops)
        finally:
            self.model.load.release()

    def temperature(self):
        return self.inputs.scalar("sampling_param_temperature", None)

    def seed(self):
        names = ("temperature", "top_k", "top_p")
        samples = any(f"sampling_param_{name}" in self.inputs for name in names) and self.temperature() != 0
        return self.inputs.scalar("sampling_param_seed", 0) if samples else GREEDY_SEED

    def steps(self, sequence, pace, stops):
        while sequence.finish is None:
            pace.before_token(self.produced)
            token = sequence.step()
            self.produced += 1
            if self.produced == 1:
                self.entry.event("first")
            self.entry.event("produced", count=self.produced)
            ids = sequence.ids
            self.stop_reason = next((stop for stop, word in stops.items() if ids[-len(word) :] == word), None)
            if self.stop_reason is None:
                self.text += self.decoder.decode(tokenizer.to_bytes([token]), final=sequence.finish is not None)
            elif not self.streaming:
                self.text = tokenizer.decode(ids[: -len(stops[self.stop_reason])])
            if sequence.finish is not None:
                finish_reasons = [sequence.finish]
                self.entry.end("finished", count=self.produced, texts=[self.text], finishReasons=finish_reasons)
            if self.streaming or sequence.finish is not None:
                self.send(sequence.finish, final=sequence.finish is not None)

    def send(self, finish, final):
        outputs = {"text_output": tensors.text_array(self.text)}
        # A reason that is not there is Python's None as text.
        if self.inputs.scalar("return_finish_reason", False):
            outputs["finish_reason"] = tensors.text_array(str(finish))
        if self.inputs.scalar("return_stop_reason", False):
            outputs["stop_reason"] = tensors.text_array(str(self.stop_reason))
        self.sender.send(tensors.response(outputs), flags=tensors.FINAL if final else 0)
