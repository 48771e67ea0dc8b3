"""Logs: one JSON object a line on stderr, from structlog and from the standard library alike.

What is bound with `structlog.contextvars` (`request_id`, `operation`, `principal`) stands in every line of that call.
"""

from __future__ import annotations

import logging
import re
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET = re.compile(r"passw|secret|token|credential|private_key|authorization", re.IGNORECASE)
#: proxmoxer logs request data with passwords at INFO; smbprotocol logs every packet.
_LOUD = ("proxmoxer", "smbprotocol", "urllib3", "alembic")


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hides the values of keys that are named like a secret, at any depth. A last line of defence, not the first."""
    for key in event:
        event[key] = _redacted(key, event[key])
    return event


def _redacted(key: object, value: object) -> object:
    if isinstance(key, str) and _SECRET.search(key) and isinstance(value, str | bytes | dict | list):
        return "<redacted>"
    if isinstance(value, dict):
        return {k: _redacted(k, v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(None, v) for v in value]
    return value


def setup(service: str, level: str = "info") -> None:
    """Configures logging for the whole process; called once, first thing in `__main__`."""

    def name_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_service,
        structlog.processors.format_exc_info,
        redact,
    ]
    render = structlog.processors.JSONRenderer(default=str)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render], foreign_pre_chain=shared
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)
