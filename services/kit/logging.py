"""Logs: one JSON object a line on stderr, from the standard library's loggers and what is given to them as `extra`.

Written here, because a library for it would cost every process megabytes, and a call through the gateway a tenth of its
time. What is `bound` (`request_id`, `principal`) stands in every line of that call.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType

_SECRET = re.compile(r"passw|secret|token|credential|private_key|authorization", re.IGNORECASE)
#: proxmoxer logs request data with passwords at INFO; smbprotocol logs every packet.
_LOUD = ("proxmoxer", "smbprotocol", "urllib3", "alembic")
#: What every record has by itself; the rest was given as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_bound: ContextVar[Mapping[str, str]] = ContextVar("bound", default=MappingProxyType({}))


@contextlib.contextmanager
def bound(**fields: str) -> Iterator[None]:
    """Within, every line has these fields."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def bound_fields() -> Mapping[str, str]:
    return _bound.get()


class JsonFormatter(logging.Formatter):
    """The line. Values of keys that are named like a secret are hidden, at any depth: a last line of defence."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        event = {
            "event": record.getMessage(),
            **{key: _redacted(key, value) for key, value in {**_bound.get(), **extra}.items()},
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": f"{moment}.{int(record.created % 1 * 1e6):06}Z",
            "service": self._service,
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


def _redacted(key: object, value: object) -> object:
    if isinstance(value, str | bytes | dict | list) and isinstance(key, str) and _names_a_secret(key):
        return "<redacted>"
    if isinstance(value, dict):
        return {k: _redacted(k, v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(None, v) for v in value]
    return value


@lru_cache(maxsize=256)
def _names_a_secret(key: str) -> bool:
    return _SECRET.search(key) is not None


def setup(service: str, level: str = "info") -> None:
    """Configures logging for the whole process; called once, first thing in `__main__`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)
