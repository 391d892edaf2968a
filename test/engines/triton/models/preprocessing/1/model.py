"""Text to token ids, and words to word lists."""

import os
import sys

import numpy

sys.path.insert(0, os.environ["TOY_LLM_PATH"])

from toy_llm import tensors, tokenizer  # noqa: E402
from toy_llm.events import EventLog  # noqa: E402


class TritonPythonModel:
    def initialize(self, args):
        self.log = EventLog(args["model_name"])

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        inputs = tensors.Inputs(request)
        entry = self.log.received(request.request_id(), inputs.loggable())
        ids = tokenizer.encode(inputs.text("QUERY", ""))
        output_length = inputs.scalar("REQUEST_OUTPUT_LEN", 0)
        if output_length <= 0:
            entry.end("error", text="output length")
            return tensors.failure(f"request_output_len must be greater than zero, got {output_length}")
        outputs = {
            "INPUT_ID": numpy.array([ids], numpy.int32).reshape(1, len(ids)),
            "REQUEST_INPUT_LEN": numpy.array([[len(ids)]], numpy.int32),
            "BAD_WORDS_IDS": tensors.word_list([tokenizer.encode(word) for word in inputs.texts("BAD_WORDS_DICT")]),
            "STOP_WORDS_IDS": tensors.word_list([tokenizer.encode(word) for word in inputs.texts("STOP_WORDS_DICT")]),
            "REQUEST_OUTPUT_LEN": numpy.array([[output_length]], numpy.int32),
            "OUT_END_ID": numpy.array([[inputs.scalar("END_ID", tokenizer.END)]], numpy.int32),
            "OUT_PAD_ID": numpy.array([[inputs.scalar("PAD_ID", tokenizer.PAD)]], numpy.int32),
        }
        entry.end("finished")
        return tensors.response(outputs, request.requested_output_names())
