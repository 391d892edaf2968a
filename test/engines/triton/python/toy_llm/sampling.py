"""vLLM's SamplingParams as JSON: the members that the toy generator honours, and the values that vLLM refuses."""

from dataclasses import dataclass, field

# Accepted without effect: the generator does not sample.
WITHOUT_EFFECT = (
    "best_of presence_penalty frequency_penalty repetition_penalty temperature top_p top_k min_p bad_words "
    "prompt_logprobs detokenize skip_special_tokens spaces_between_special_tokens logit_bias allowed_token_ids "
    "structured_outputs guided_decoding extra_args output_kind truncate_prompt_tokens flat_logprobs"
).split()


@dataclass
class Sampling:
    n: int = 1
    seed: int = 0
    max_tokens: int = 16
    min_tokens: int = 0
    stop: list[str] = field(default_factory=list)
    stop_token_ids: list[int] = field(default_factory=list)
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    logprobs: int | None = None


def sampling_from(members: dict) -> Sampling:
    if members.get("lora_name") is not None:
        raise ValueError("LoRA feature is not enabled.")
    honoured = {}
    for name, value in members.items():
        if name in Sampling.__dataclass_fields__:
            if value is not None:
                honoured[name] = value
        elif name not in WITHOUT_EFFECT:
            raise TypeError(f"Unexpected keyword argument '{name}'")
    _refuse(members)
    if isinstance(honoured.get("stop"), str):
        honoured["stop"] = [honoured["stop"]]
    return Sampling(**honoured)


def _refuse(members: dict) -> None:
    def number(name: str, default: float) -> float:
        value = members.get(name)
        return default if value is None else value

    if number("n", 1) < 1:
        raise ValueError(f"n must be at least 1, got {members['n']}.")
    if number("max_tokens", 16) < 1:
        raise ValueError(f"max_tokens must be at least 1, got {members['max_tokens']}.")
    if number("temperature", 1) < 0:
        raise ValueError(f"temperature must be non-negative, got {members['temperature']}.")
    if not 0 < number("top_p", 1) <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {members['top_p']}.")
    if not -2 <= number("presence_penalty", 0) <= 2:
        raise ValueError(f"presence_penalty must be in [-2, 2], got {members['presence_penalty']}.")
    if number("min_tokens", 0) > number("max_tokens", 16):
        raise ValueError(f"min_tokens must be less than or equal to max_tokens={members.get('max_tokens', 16)}.")
