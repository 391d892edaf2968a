"""`ensemble`'s interface as a Python model that calls preprocessing, tensorrt_llm and postprocessing.

It behaves as the original: the inner requests have an id of their own, a client's cancel is not looked at, an error
carries a traceback, and a separate empty response marks the end.
"""

import json
import os
import sys
import threading
import traceback
import uuid

import numpy
import triton_python_backend_utils as pb_utils

sys.path.insert(0, os.environ["TOY_LLM_PATH"])

from toy_llm import directives, tensors  # noqa: E402
from toy_llm.events import EventLog  # noqa: E402

TO_PREPROCESSING = {
    "text_input": "QUERY",
    "max_tokens": "REQUEST_OUTPUT_LEN",
    "bad_words": "BAD_WORDS_DICT",
    "stop_words": "STOP_WORDS_DICT",
    "end_id": "END_ID",
    "pad_id": "PAD_ID",
}
FROM_PREPROCESSING = {
    "INPUT_ID": "input_ids",
    "REQUEST_INPUT_LEN": "input_lengths",
    "REQUEST_OUTPUT_LEN": "request_output_len",
    "BAD_WORDS_IDS": "bad_words_list",
    "STOP_WORDS_IDS": "stop_words_list",
    "OUT_END_ID": "end_id",
    "OUT_PAD_ID": "pad_id",
}
RENAMED = {"top_k": "runtime_top_k", "top_p": "runtime_top_p", "length_penalty": "len_penalty", "stream": "streaming"}
KEPT = (
    "num_return_sequences exclude_input_in_output temperature repetition_penalty min_tokens presence_penalty "
    "frequency_penalty seed return_log_probs return_perf_metrics return_num_input_tokens return_num_output_tokens "
    "beam_width lora_task_id guided_decoding_guide_type guided_decoding_guide"
).split()
TO_CORE = RENAMED | {name: name for name in KEPT}
PASSED_ON = ("cum_log_probs output_log_probs batch_index sequence_index num_input_tokens num_output_tokens").split()


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.accumulates = tensors.model_parameter(config, "accumulate_tokens", "false") == "true"
        self.core = tensors.model_parameter(config, "tensorrt_llm_model_name", "tensorrt_llm")
        self.log = EventLog(args["model_name"])

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            inputs = tensors.Inputs(request)
            entry = self.log.received(request.request_id(), inputs.loggable())
            arrays = {tensor.name(): tensor.as_numpy().copy() for tensor in request.inputs()}
            wanted = set(request.requested_output_names())
            arguments = (inputs, arrays, wanted, sender, entry)
            threading.Thread(target=self.run, args=arguments, daemon=True).start()

    def run(self, inputs, arrays, wanted, sender, entry):
        try:
            count = self.generate(inputs, arrays, wanted, sender, entry)
            entry.end("finished", count=count)
        except Exception as error:
            entry.end("error", text=str(error))
            sender.send(tensors.failure(traceback.format_exc()))
        finally:
            sender.send(flags=tensors.FINAL)

    def generate(self, inputs, arrays, wanted, sender, entry):
        inner_id = uuid.uuid4().hex
        # The Python backend of 24.10 hands an inner error over only when it is the first response: a later one is lost,
        # and with it the end of the stream. So an error in mid-stream is raised here.
        commands = directives.parse(inputs.text("text_input", ""), 0)
        entry.event("inner request", innerRequestId=inner_id)
        tokenized = self.call("preprocessing", inner_id, renamed(arrays, TO_PREPROCESSING), list(FROM_PREPROCESSING))
        core_inputs = renamed(tokenized, FROM_PREPROCESSING) | with_batch(renamed(arrays, TO_CORE))
        outputs = ["output_ids", "sequence_length", *PASSED_ON]
        stop_words = inputs.texts("stop_words")
        streaming = bool(inputs.scalar("stream", False))
        ids_so_far = {}
        stopped = set()
        count = 0
        for step in self.stream(self.core, inner_id, core_inputs, outputs):
            index = int(step["sequence_index"].flat[0])
            if index in stopped:
                continue
            count += 1
            ids = ids_so_far.setdefault(index, [])
            ids.extend(step["output_ids"].flatten().tolist())
            whole = self.text_of(inner_id, ids)
            cut = end_of_stop_word(whole, stop_words) if streaming else None
            if cut is not None:
                whole = whole[:cut]
                stopped.add(index)
                self.stop(inner_id)
            if self.accumulates or not streaming:
                text = whole
            else:
                text = self.text_of(inner_id, step["output_ids"].flatten().tolist())
            passed_on = {name: step[name] for name in PASSED_ON if name in step}
            sender.send(tensors.response({"text_output": tensors.text_array(text)} | passed_on, wanted))
            if count == commands.error_after:
                raise RuntimeError(commands.error_text)
        return count

    def text_of(self, inner_id, ids):
        arrays = {
            "TOKENS_BATCH": numpy.array([[ids]], numpy.int32),
            "SEQUENCE_LENGTH": numpy.array([[len(ids)]], numpy.int32),
        }
        return self.call("postprocessing", inner_id, arrays, ["OUTPUT"])["OUTPUT"].flat[0].decode()

    def stop(self, inner_id):
        one = numpy.array([[1]], numpy.int32)
        inputs = {"input_ids": one, "input_lengths": one, "request_output_len": one, "stop": numpy.array([[True]])}
        for _ in self.stream(self.core, inner_id, inputs, ["output_ids"]):
            pass

    def call(self, model, inner_id, arrays, outputs):
        answer = inner_request(model, inner_id, arrays, outputs).exec()
        return checked(answer)

    def stream(self, model, inner_id, arrays, outputs):
        for answer in inner_request(model, inner_id, arrays, outputs).exec(decoupled=True):
            outputs_of_step = checked(answer)
            if outputs_of_step:
                yield outputs_of_step


def inner_request(model, inner_id, arrays, outputs):
    return pb_utils.InferenceRequest(
        model_name=model,
        request_id=inner_id,
        inputs=[pb_utils.Tensor(name, array) for name, array in arrays.items()],
        requested_output_names=outputs,
    )


def checked(answer):
    if answer.has_error():
        raise pb_utils.TritonModelException(answer.error().message())
    return {tensor.name(): tensor.as_numpy() for tensor in answer.output_tensors()}


def renamed(arrays, names):
    return {new: arrays[old] for old, new in names.items() if old in arrays}


def with_batch(arrays):
    """Inputs that this model declares as scalars have lost the second dimension that the core wants."""
    return {name: array.reshape(1, -1) if array.ndim == 1 else array for name, array in arrays.items()}


def end_of_stop_word(text, stop_words):
    """Where the first stop word ends: the original keeps the word and drops what follows."""
    ends = [text.index(word) + len(word) for word in stop_words if word in text]
    return min(ends, default=None)
