"""Reading a request's tensors and answering it."""

import json

import numpy
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL

# Longer tensors go into the log as their length, longer texts cut: a log line stays short.
LOGGED_ELEMENTS = 64
LOGGED_CHARACTERS = 4_096


class Inputs:
    """A request's input tensors by name, flat; an absent tensor gives the default. Holds copies: it outlives `execute`."""

    def __init__(self, request):
        self._tensors = {tensor.name(): tensor.as_numpy().flatten() for tensor in request.inputs()}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def scalar(self, name: str, default=None):
        values = self._tensors.get(name)
        return default if values is None or values.size == 0 else values[0].item()

    def text(self, name: str, default: str | None = None) -> str | None:
        values = self._tensors.get(name)
        return default if values is None or values.size == 0 else _as_text(values[0])

    def texts(self, name: str) -> list[str]:
        return [_as_text(value) for value in self._tensors.get(name, ())]

    def ids(self, name: str) -> list[int]:
        return [int(value) for value in self._tensors.get(name, ())]

    def words(self, name: str) -> list[list[int]]:
        """Undoes `word_list`."""
        flat = self.ids(name)
        ids, offsets = flat[: len(flat) // 2], flat[len(flat) // 2 :]
        ends = [offset for offset in offsets if offset > 0]
        return [ids[start:end] for start, end in zip([0, *ends], ends)]

    def loggable(self) -> dict:
        return {name: _loggable(values) for name, values in self._tensors.items()}


def word_list(words: list[list[int]]) -> numpy.ndarray:
    """[1, 2, n]: all ids in one row, where each word ends in the other, padded with -1."""
    flat = [token for word in words for token in word]
    offsets = [sum(len(word) for word in words[: index + 1]) for index in range(len(words))]
    return numpy.array([[flat, offsets + [-1] * (len(flat) - len(offsets))]], numpy.int32).reshape(1, 2, len(flat))


def text_array(*texts: str) -> numpy.ndarray:
    return numpy.array([text.encode() for text in texts], numpy.object_)


def response(tensors: dict, wanted=None):
    """A response of those tensors whose names are wanted; None wants all."""
    chosen = [pb_utils.Tensor(name, values) for name, values in tensors.items() if wanted is None or name in wanted]
    return pb_utils.InferenceResponse(output_tensors=chosen)


def failure(text: str, tensors: dict | None = None, code=None):
    error = pb_utils.TritonError(text) if code is None else pb_utils.TritonError(text, code)
    outputs = [pb_utils.Tensor(name, values) for name, values in (tensors or {}).items()]
    return pb_utils.InferenceResponse(output_tensors=outputs, error=error)


def request_parameters(request) -> dict:
    text = request.parameters()
    return json.loads(text) if text else {}


def model_parameter(model_config: dict, name: str, default: str) -> str:
    return model_config.get("parameters", {}).get(name, {}).get("string_value", default)


def _as_text(value) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _loggable(values: numpy.ndarray):
    if values.size > LOGGED_ELEMENTS:
        return {"elements": values.size}
    return [_as_text(value)[:LOGGED_CHARACTERS] if isinstance(value, bytes) else value for value in values.tolist()]
