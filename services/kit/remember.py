"""Answers that are costly to find out and seldom change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """Calls `ask` when the last answer is older than `seconds`, and else gives that one. Thread-safe: while one thread
    asks, others wait for its answer."""

    def __init__(self, ask: Callable[[], T], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = threading.Lock()
        self._answer: tuple[float, T] | None = None

    def __call__(self) -> T:
        with self._lock:
            now = time.monotonic()
            if self._answer is None or now - self._answer[0] >= self._seconds:
                self._answer = (now, self._ask())
            return self._answer[1]
