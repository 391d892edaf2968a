"""Time inside a model: slots that requests wait for, pauses that a cancel ends, and the faults that a prompt asks for."""

import os
import threading
import time
from typing import Callable

from .directives import Directives

# How long a cancel may stay unseen: real engines look once a step.
CHECK_SECONDS = 0.01


class Cancelled(Exception):
    """The client left or cancelled."""


class Stopped(Exception):
    """Another request told the model to stop this one."""


class Load:
    """At most `slots` generations at once, the rest waits; `on_change(active, waiting)` hears of every change."""

    def __init__(self, slots: int, on_change: Callable[[int, int], None] = lambda active, waiting: None):
        self._slots = threading.Semaphore(slots)
        self._lock = threading.Lock()
        self._on_change = on_change
        self._active = 0
        self._waiting = 0

    def _change(self, active: int, waiting: int) -> None:
        with self._lock:
            self._active += active
            self._waiting += waiting
            self._on_change(self._active, self._waiting)

    def acquire(self, check: Callable[[], None]) -> None:
        self._change(0, 1)
        try:
            while not self._slots.acquire(timeout=CHECK_SECONDS):
                check()
        except BaseException:
            self._change(0, -1)
            raise
        self._change(1, -1)

    def release(self) -> None:
        self._slots.release()
        self._change(-1, 0)


class Pace:
    """`check` raises when the generation shall end."""

    def __init__(self, directives: Directives, check: Callable[[], None]):
        self._directives = directives
        self._check = check
        self._next = time.monotonic()

    def before_token(self, produced: int) -> None:
        wanted = self._directives
        self._check()
        self._sleep(wanted.delay_ms if produced > 0 else wanted.prefill_ms)
        if wanted.crash_after == produced:
            os._exit(1)
        if wanted.error_after == produced:
            raise RuntimeError(wanted.error_text)
        if wanted.hang_after == produced:
            self._sleep(float("inf"))

    def _sleep(self, milliseconds: float) -> None:
        # Steps start at even distances, so that a slow machine does not stretch a long generation.
        self._next = max(self._next + milliseconds / 1000, time.monotonic())
        while (left := self._next - time.monotonic()) > 0:
            time.sleep(min(left, CHECK_SECONDS))
            self._check()
