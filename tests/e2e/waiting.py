"""Waiting for what happens by itself: bounded, with pauses that grow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T | None], what: str, seconds: float = 30.0) -> T:
    """The first answer that is true; fails, saying what was waited for, when there was none in time."""
    end, pause = time.monotonic() + seconds, 0.02
    while True:
        answer = look()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.3)
