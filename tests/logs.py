"""What is logged, as the lines that an administrator reads."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from services.kit.logging import JsonFormatter


@contextmanager
def captured() -> Iterator[list[dict[str, Any]]]:
    """Every line of this process, from `info` on, decoded."""
    lines: list[dict[str, Any]] = []
    formatter = JsonFormatter("test")

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(formatter.format(record)))

    root, handler = logging.getLogger(), Keeping()
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
