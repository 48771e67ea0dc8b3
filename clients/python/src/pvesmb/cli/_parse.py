"""Values of options."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import typer

from pvesmb._units import parse_duration, parse_size


class Level(StrEnum):
    DENY = "deny"
    READ = "read"
    READ_WRITE = "read-write"
    ADMIN = "admin"


class EveryoneLevel(StrEnum):
    NONE = "none"
    DENY = "deny"
    READ = "read"
    READ_WRITE = "read-write"
    ADMIN = "admin"


class Guest(StrEnum):
    NONE = "none"
    READ = "read"
    READ_WRITE = "read-write"


class Demand(StrEnum):
    OFF = "off"
    DESIRED = "desired"
    REQUIRED = "required"


class Dialect(StrEnum):
    SMB2_10 = "2.1"
    SMB3_00 = "3.0"
    SMB3_11 = "3.1.1"


class Drift(StrEnum):
    REPAIR = "repair"
    REPORT = "report"


def size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def rule(text: str) -> tuple[str, Level]:
    """`NAME` or `NAME:LEVEL`."""
    name, colon, level = text.partition(":")
    try:
        return name, Level(level) if colon else Level.READ_WRITE
    except ValueError:
        known = ", ".join(item.value for item in Level)
        raise typer.BadParameter(f"{text!r}: the level must be one of {known}") from None


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """`KEY=VALUE` each."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{text!r} must have the form KEY=VALUE", param_hint=option)
        found[key.strip()] = value.strip()
    return found


def listed(texts: Iterable[str]) -> list[str]:
    """Each option may hold several, with commas; an empty one stands for none at all."""
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]
