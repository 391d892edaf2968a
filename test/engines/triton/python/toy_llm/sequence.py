"""One generated sequence: the same prompt, seed and index give the same tokens on every machine."""

import hashlib
import random

from . import tokenizer
from .directives import Directives

# Two, three and four bytes: none is one token, so each is split over steps.
WIDE_CHARACTERS = ("é", "ü", "—", "漢", "字", "☕", "🌊")


def _endless_text(generator: random.Random):
    words_in_sentence = 0
    while True:
        yield from tokenizer.encode(generator.choice(tokenizer.WORDS))
        words_in_sentence += 1
        if generator.random() < 0.15:
            yield from tokenizer.encode(" " + generator.choice(WIDE_CHARACTERS))
        if words_in_sentence > 5 and generator.random() < 0.3:
            yield from tokenizer.encode(".")
            words_in_sentence = 0
        yield from tokenizer.encode(" ")


class Sequence:
    """`step` makes one token; `finish` becomes "stop" (end token or a stop word) or "length" with the last one."""

    def __init__(
        self,
        prompt_ids: list[int],
        seed: int,
        index: int,
        max_tokens: int,
        directives: Directives,
        min_tokens: int = 0,
        end_id: int | None = tokenizer.END,
        stop_words: list[list[int]] | None = None,
    ):
        digest = hashlib.sha256(f"{prompt_ids} {seed} {index}".encode()).digest()
        generator = random.Random(int.from_bytes(digest[:8], "big"))
        natural = directives.tokens if directives.tokens is not None else 16 + generator.randrange(32)
        if directives.say is not None:
            said = tokenizer.encode(directives.say)
            natural, self._source = len(said), iter(said)
        else:
            self._source = _endless_text(generator)
        self._natural = max(natural, min_tokens) if end_id is not None else max_tokens
        self._spare = _endless_text(generator)
        self._end_id = end_id
        self._max_tokens = max_tokens
        self._stop_words = stop_words or []
        self.ids: list[int] = []
        self.finish: str | None = None

    def step(self) -> int:
        if len(self.ids) == self._natural and self._end_id is not None:
            token = self._end_id
            self.finish = "stop"
        else:
            token = next(self._source, None) or next(self._spare)
        self.ids.append(token)
        if self.finish is None and any(self.ids[-len(word) :] == word for word in self._stop_words):
            self.finish = "stop"
        if self.finish is None and len(self.ids) >= self._max_tokens:
            self.finish = "length"
        return token
