"""Small checks that several resources share. Each returns nothing or raises `InvalidField` at the given path."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence

from services.core.errors import InvalidField

_LABEL_KEY = re.compile(r"[a-z0-9._/-]{1,63}\Z")
_NETBIOS = re.compile(r"[A-Za-z0-9-]{1,15}\Z")
_PROXMOX_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,38}[A-Za-z0-9]\Z")
_OCTAL = re.compile(r"0?[0-7]{3,4}\Z")


def one_line(field: str, text: str, limit: int, forbidden: str = "") -> None:
    if len(text) > limit:
        raise InvalidField.of(field, f"must be at most {limit} characters long")
    if not text.isprintable():
        raise InvalidField.of(field, "must be one line without control characters")
    if bad := [c for c in forbidden if c in text]:
        raise InvalidField.of(field, f"must not contain {' '.join(map(repr, bad))}")


def labels(field: str, values: Mapping[str, str]) -> None:
    if len(values) > 64:
        raise InvalidField.of(field, "must be at most 64 labels")
    for key, value in values.items():
        if not _LABEL_KEY.match(key):
            raise InvalidField.of(field, f"key {key!r} must be 1 to 63 of a-z 0-9 . _ / -")
        one_line(f"{field}[{key}]", value, 63)


def netbios(field: str, text: str) -> None:
    if text and not _NETBIOS.match(text):
        raise InvalidField.of(field, "must be 1 to 15 letters, digits and hyphens")


def proxmox_name(field: str, text: str) -> None:
    """Of a node, a pool or a storage."""
    if text and not _PROXMOX_NAME.match(text):
        raise InvalidField.of(field, "must be 2 to 40 letters, digits and . _ -, beginning with a letter")


def octal_mode(field: str, text: str) -> None:
    if text and not _OCTAL.match(text):
        raise InvalidField.of(field, "must be three or four octal digits")


def addresses(field: str, values: Sequence[str]) -> None:
    for i, value in enumerate(values):
        try:
            ipaddress.ip_address(_without_zone(value))
        except ValueError:
            raise InvalidField.of(f"{field}[{i}]", f"{value!r} is not an IP address") from None


def networks(field: str, values: Sequence[str]) -> None:
    for i, value in enumerate(values):
        try:
            ipaddress.ip_network(_without_zone(value), strict=True)
        except ValueError:
            raise InvalidField.of(f"{field}[{i}]", f"{value!r} is not an IP address or network") from None
    if len(set(values)) != len(values):
        raise InvalidField.of(field, "must not name an address twice")


def _without_zone(value: str) -> str:
    """The value, or `ValueError`: in a zone (`fe80::1%eth0`) ipaddress lets everything pass, line ends included."""
    if "%" in value:
        raise ValueError(value)
    return value


def within(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidField.of(field, f"must be from {least} to {most}")
