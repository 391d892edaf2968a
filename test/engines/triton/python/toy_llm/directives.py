"""Commands that a test puts into a prompt, such as `[[delay_ms=20]]`: they steer the model without changing its interface.

delay_ms=N     time between tokens (default: the model parameter `delay_ms`, else 0)
prefill_ms=N   time before the first token
tokens=N       the model ends by itself after N tokens (default: 16 to 47, by the prompt)
say:TEXT       the model says TEXT and ends
error[=TEXT]   fails before the first token
error_after=N  fails after N tokens
hang           never answers (a cancel still ends it)
hang_after=N   stops answering after N tokens (a cancel still ends it)
crash          the model's process dies before the first token
crash_after=N  the model's process dies after N tokens
"""

import re
from dataclasses import dataclass

COMMAND = re.compile(r"\[\[(\w+)(?:[=:](.*?))?\]\]", re.DOTALL)


@dataclass
class Directives:
    delay_ms: float = 0
    prefill_ms: float = 0
    tokens: int | None = None
    say: str | None = None
    error_after: int | None = None
    error_text: str = "the model failed on request"
    hang_after: int | None = None
    crash_after: int | None = None


def parse(prompt: str, delay_ms: float) -> Directives:
    found = Directives(delay_ms=delay_ms)
    for name, value in COMMAND.findall(prompt):
        if name in ("delay_ms", "prefill_ms"):
            setattr(found, name, float(value))
        elif name in ("tokens", "error_after", "hang_after", "crash_after"):
            setattr(found, name, int(value))
        elif name in ("error", "hang", "crash"):
            setattr(found, f"{name}_after", 0)
            if name == "error" and value:
                found.error_text = value
        elif name == "say":
            found.say = value
    return found
