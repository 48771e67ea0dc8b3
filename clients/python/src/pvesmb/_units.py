"""Sizes and durations as people write them."""

from __future__ import annotations

import re
from decimal import Decimal

_BINARY = ("KiB", "MiB", "GiB", "TiB", "PiB")
_DECIMAL = ("kB", "MB", "GB", "TB", "PB")
_FACTORS = (
    {"": 1, "b": 1}
    | {unit.lower(): 1024 ** (i + 1) for i, unit in enumerate(_BINARY)}
    | {unit.lower(): 1000 ** (i + 1) for i, unit in enumerate(_DECIMAL)}
)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", re.ASCII)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_INT64_MAX = 2**63 - 1


def parse_size(text: str) -> int:
    """Bytes of `10GiB`, `500MB`, `1.5 TiB` or `1048576`. `10G` is refused, because people mean different things by it."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write it like 10GiB, 500MB or 1048576 (bytes)")
    number, unit = match.groups()
    if unit.lower() in ("k", "m", "g", "t", "p"):
        letter = unit.upper()
        decimal = "kB" if letter == "K" else f"{letter}B"
        raise ValueError(f"{text!r} is ambiguous; write {number}{letter}iB (powers of 1024) or {number}{decimal} (of 1000)")
    factor = _FACTORS.get(unit.lower())
    if factor is None:
        raise ValueError(f"{text!r}: unknown unit {unit!r}; known are {', '.join((*_BINARY, *_DECIMAL))}")
    size = Decimal(number) * factor
    if size != int(size):
        raise ValueError(f"{text!r} is not a whole number of bytes")
    if size > _INT64_MAX:
        raise ValueError(f"{text!r} is more than the contract can carry")
    return int(size)


def format_size(size: int) -> str:
    """`10 GiB`, `1.5 MiB`, `17 B`: at most one decimal, for people."""
    if abs(size) < 1024:
        return f"{size} B"
    value = float(size)
    for unit in _BINARY:
        value /= 1024
        # 1023.96 would be shown as 1024.0 of this unit.
        if abs(value) < 1023.95 or unit == _BINARY[-1]:
            return f"{value:.1f}".removesuffix(".0") + f" {unit}"
    raise AssertionError("the last unit takes every size")


def parse_duration(text: str) -> float:
    """Seconds of `30`, `30s`, `5m`, `1.5h` or `200ms`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write it like 30s, 5m or 1h")
    return float(match[1]) * _SECONDS[match[2]]
