"""The formats of single values, and property strings such as `name=eth0,bridge=vmbr0,ip=dhcp`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from services.localnode.api.refusal import failed

VMID_MIN, VMID_MAX = 100, 999_999_999
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def vmid(text: str) -> str | None:
    good = re.fullmatch(r"[1-9]\d{2,8}", text)
    return None if good else "value does not look like a valid VM ID"


def dns_name(text: str) -> str | None:
    good = re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text)
    return None if good else "value does not look like a valid DNS name"


def config_id(text: str) -> str | None:
    """At least two characters: `invalid configuration ID 's'` was recorded."""
    good = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]+", text)
    return None if good else f"invalid configuration ID '{text}'"


def tags(text: str) -> str | None:
    good = all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_+.-]*", tag) for tag in split_list(text))
    return None if good else "invalid characters in tag"


def volume_or_path(text: str) -> str | None:
    good = text.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9._-]*:.", text)
    return None if good else f"unable to parse volume ID '{text}'"


def split_list(text: str) -> list[str]:
    """Lists are separated by comma, semicolon, white space or NUL (PVE::Tools::split_list)."""
    return [part for part in re.split(r"[,;\s\0]+", text) if part]


def parse_properties(text: str, default_key: str) -> dict[str, str]:
    """The parts of a property string; a part without a key belongs to `default_key`."""
    properties: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        properties[key if equals else default_key] = value if equals else key
    return properties


def render_properties(properties: Mapping[str, str], default_key: str = "", required: tuple[str, ...] = ()) -> str:
    """The default key's value first, then the required keys, then the others by name: the order of a node's answers."""
    head = [properties[default_key]] if default_key in properties else []
    head += [f"{key}={properties[key]}" for key in required if key in properties]
    rest = sorted(set(properties) - {default_key, *required})
    return ",".join(head + [f"{key}={properties[key]}" for key in rest])


def parse_size(text: str) -> int:
    """Bytes of `8G`, `512M`, `1024`."""
    found = re.fullmatch(r"(\d+)(?:\.\d+)?([KMGT]?)", text)
    if not found:
        raise failed(f"unable to parse size '{text}'")
    return int(found[1]) * _UNITS[found[2]]


def render_size(size: int) -> str:
    """The largest unit that divides it, as `size=` of a volume is written."""
    for unit in ("T", "G", "M", "K"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)
