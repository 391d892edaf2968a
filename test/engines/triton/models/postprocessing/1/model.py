"""Token ids to text. It sees one step at a time, so a character split over steps comes out as U+FFFD."""

import os
import sys

import triton_python_backend_utils as pb_utils

sys.path.insert(0, os.environ["TOY_LLM_PATH"])

from toy_llm import tensors, tokenizer  # noqa: E402


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tokens = pb_utils.get_input_tensor_by_name(request, "TOKENS_BATCH").as_numpy()
        lengths = pb_utils.get_input_tensor_by_name(request, "SEQUENCE_LENGTH").as_numpy()
        texts = [
            tokenizer.decode(ids[:length].tolist())
            for row, row_lengths in zip(tokens, lengths)
            for ids, length in zip(row, row_lengths)
        ]
        # Rows and beams flattened into one dimension, as the original does.
        return tensors.response({"OUTPUT": tensors.text_array(*texts)})
