"""A backend named "vllm" with the tensors and the manners of Triton's vLLM backend, on a toy generator."""

import codecs
import json
import os
import sys
import threading

import numpy
import triton_python_backend_utils as pb_utils

sys.path.insert(0, os.environ["TOY_LLM_PATH"])

from toy_llm import directives, metrics, tensors, tokenizer  # noqa: E402
from toy_llm.events import EventLog  # noqa: E402
from toy_llm.pace import Cancelled, Load, Pace  # noqa: E402
from toy_llm.sampling import Sampling, sampling_from  # noqa: E402
from toy_llm.sequence import Sequence  # noqa: E402

INPUTS = (
    ("text_input", "TYPE_STRING", 1, False),
    ("image", "TYPE_STRING", -1, True),
    ("stream", "TYPE_BOOL", 1, True),
    ("sampling_parameters", "TYPE_STRING", 1, True),
    ("exclude_input_in_output", "TYPE_BOOL", 1, True),
    ("return_finish_reason", "TYPE_BOOL", 1, True),
    ("return_cumulative_logprob", "TYPE_BOOL", 1, True),
    ("return_logprobs", "TYPE_BOOL", 1, True),
    ("return_num_input_tokens", "TYPE_BOOL", 1, True),
    ("return_num_output_tokens", "TYPE_BOOL", 1, True),
)
OUTPUTS = (
    ("text_output", "TYPE_STRING", -1),
    ("finish_reason", "TYPE_STRING", -1),
    ("cumulative_logprob", "TYPE_FP32", -1),
    ("logprobs", "TYPE_STRING", -1),
    ("num_input_tokens", "TYPE_UINT32", 1),
    ("num_output_tokens", "TYPE_UINT32", -1),
)
LOG_PROBABILITY = -0.5


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        for name, kind, dim, optional in INPUTS:
            config.add_input({"name": name, "data_type": kind, "dims": [dim], "optional": optional})
        for name, kind, dim in OUTPUTS:
            config.add_output({"name": name, "data_type": kind, "dims": [dim]})
        config.set_model_transaction_policy({"decoupled": True})
        config.set_max_batch_size(0)
        return config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.delay_ms = float(tensors.model_parameter(config, "delay_ms", "0"))
        self.max_model_len = int(tensors.model_parameter(config, "max_model_len", "8192"))
        slots = int(tensors.model_parameter(config, "slots", "256"))
        self.load = Load(slots, metrics.vllm_gauges(args["model_name"], args["model_version"], slots))
        self.log = EventLog(args["model_name"])

    def execute(self, requests):
        for request in requests:
            generation = Generation(self, request, tensors.Inputs(request), request.get_response_sender())
            threading.Thread(target=generation.run, daemon=True).start()


class Choice:
    """One returned sequence: text that is safe to send, held back where a stop word or a character may be unfinished."""

    def __init__(self, sequence: Sequence, sampling: Sampling):
        self.sequence = sequence
        self.sampling = sampling
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.text = ""
        self.sent = 0
        self.counted = 0
        self.described = 0

    def step(self) -> None:
        token = self.sequence.step()
        ended = self.sequence.finish is not None
        self.text += self.decoder.decode(tokenizer.to_bytes([token]), final=ended)
        for word in self.sampling.stop:
            at = self.text.find(word)
            if at >= 0 and len(self.sequence.ids) >= self.sampling.min_tokens:
                self.text = self.text[: at + len(word) if self.sampling.include_stop_str_in_output else at]
                self.sequence.finish = "stop"

    def take_text(self) -> str:
        longest = max(map(len, self.sampling.stop), default=1)
        end = len(self.text) if self.sequence.finish else max(self.sent, len(self.text) - longest + 1)
        piece = self.text[self.sent : end]
        self.sent = end
        return piece

    def take_count(self) -> int:
        new = len(self.sequence.ids) - self.counted
        self.counted += new
        return new

    def take_log_probabilities(self) -> str:
        new = self.sequence.ids[self.described :]
        self.described += len(new)
        if self.sampling.logprobs is None:
            return "null"
        return json.dumps(
            [
                {str(token): {"logprob": LOG_PROBABILITY, "rank": 1, "decoded_token": tokenizer.decode([token])}}
                for token in new
            ]
        )


class Generation:
    def __init__(self, model, request, inputs, sender):
        self.model = model
        self.inputs = inputs
        self.sender = sender
        self.wanted = set(request.requested_output_names())
        self.parameters = tensors.request_parameters(request)
        self.prompt_text = inputs.text("text_input", "")
        self.prompt = tokenizer.encode(self.prompt_text)
        self.streaming = inputs.scalar("stream", False)
        self.produced = 0
        self.entry = model.log.received(request.request_id(), inputs.loggable() | {"parameters": self.parameters})

    def check(self):
        if self.sender.is_cancelled():
            raise Cancelled

    def run(self):
        not_available = {"text_output": tensors.text_array("N/A")}
        try:
            self.generate()
        except Cancelled:
            self.entry.end("cancelled", count=self.produced)
            cancelled = tensors.failure("Request was cancelled", code=pb_utils.TritonError.CANCELLED)
            self.sender.send(cancelled, flags=tensors.FINAL)
        except Exception as error:
            self.entry.end("error", count=self.produced, text=str(error))
            text = f"Error generating stream: {error}"
            self.sender.send(tensors.failure(text, not_available), flags=tensors.FINAL)

    def generate(self):
        excludes = self.inputs.scalar("exclude_input_in_output", None)
        if self.streaming and excludes is False:
            raise ValueError("When streaming, `exclude_input_in_output` = False is not allowed.")
        given = self.inputs.text("sampling_parameters")
        sampling = sampling_from(json.loads(given) if given else self.parameters)
        if len(self.prompt) > self.model.max_model_len:
            raise ValueError(
                f"The decoder prompt (length {len(self.prompt)}) is longer than the maximum model length of "
                f"{self.model.max_model_len}."
            )
        commands = directives.parse(self.prompt_text, self.model.delay_ms)
        choices = [Choice(self.sequence(index, sampling, commands), sampling) for index in range(sampling.n)]
        self.model.load.acquire(self.check)
        try:
            self.entry.event("started")
            self.steps(choices, Pace(commands, self.check))
        finally:
            self.model.load.release()
        if not self.streaming:
            self.send(choices, prefix="" if excludes else self.prompt_text, final=True)

    def sequence(self, index, sampling, commands):
        return Sequence(
            self.prompt,
            sampling.seed,
            index,
            min(sampling.max_tokens, max(1, self.model.max_model_len - len(self.prompt))),
            commands,
            min_tokens=sampling.min_tokens,
            end_id=None if sampling.ignore_eos else tokenizer.END,
            stop_words=[[token] for token in sampling.stop_token_ids],
        )

    def steps(self, choices, pace):
        step = 0
        while open_choices := [choice for choice in choices if choice.sequence.finish is None]:
            pace.before_token(step)
            for choice in open_choices:
                choice.step()
                self.produced += 1
                if self.produced == 1:
                    self.entry.event("first")
                self.entry.event("produced", count=self.produced)
            done = all(choice.sequence.finish is not None for choice in choices)
            if done:
                self.note_end(choices)
            if self.streaming:
                self.send(choices, prefix="", final=done)
            step += 1

    def note_end(self, choices):
        finish_reasons = [choice.sequence.finish for choice in choices]
        texts = [choice.text for choice in choices]
        self.entry.end("finished", count=self.produced, texts=texts, finishReasons=finish_reasons)

    def send(self, choices, prefix, final):
        outputs = {"text_output": tensors.text_array(*(prefix + choice.take_text() for choice in choices))}
        if self.inputs.scalar("return_finish_reason", False):
            outputs["finish_reason"] = tensors.text_array(*(str(choice.sequence.finish) for choice in choices))
        if self.inputs.scalar("return_cumulative_logprob", False):
            sums = [LOG_PROBABILITY * len(choice.sequence.ids) for choice in choices]
            outputs["cumulative_logprob"] = numpy.array(sums, numpy.float32)
        if self.inputs.scalar("return_logprobs", False):
            outputs["logprobs"] = tensors.text_array(*(choice.take_log_probabilities() for choice in choices))
        if self.inputs.scalar("return_num_input_tokens", False):
            # Declared [1], sent without a dimension, as the original does.
            outputs["num_input_tokens"] = numpy.asarray(numpy.uint32(len(self.prompt)))
        if self.inputs.scalar("return_num_output_tokens", False):
            outputs["num_output_tokens"] = numpy.array([choice.take_count() for choice in choices], numpy.uint32)
        self.sender.send(tensors.response(outputs, self.wanted), flags=tensors.FINAL if final else 0)
