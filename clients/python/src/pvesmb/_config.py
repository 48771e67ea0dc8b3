"""Where the gateway is, and how to show who one is."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pvesmb._errors import InvalidArgument, Unavailable


@dataclass(frozen=True)
class Settings:
    """`gateway` is `unix:/path` or `host:port`. For `host:port` the certificate of the authority (`ca`) is needed, and a
    client certificate with its key, or the file of a bearer token."""

    gateway: str
    ca: str = ""
    cert: str = ""
    key: str = ""
    token_file: str = ""


_KEYS = ("gateway", "ca", "cert", "key", "token_file")


def places() -> list[Path]:
    """The files that are looked at, in this order; the first that exists counts."""
    named = os.environ.get("PVESMB_CONFIG")
    if named:
        return [Path(named)]
    return [
        Path(sys.prefix).parent / "var" / "client.toml",
        Path.home() / ".config" / "pvesmb" / "client.toml",
        Path("/etc/pvesmb/client.toml"),
    ]


def find(gateway: str | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of `gateway`, or of the environment (`PVESMB_GATEWAY`, `PVESMB_CA`, `PVESMB_CERT`, `PVESMB_KEY`,
    `PVESMB_TOKEN_FILE`), or of the first file of `places()`; `Unavailable` if there is none."""
    from_environment = {key: environ[f"PVESMB_{key.upper()}"] for key in _KEYS if f"PVESMB_{key.upper()}" in environ}
    if gateway:
        from_environment["gateway"] = gateway
    if "gateway" in from_environment:
        return Settings(**from_environment)
    looked = places()
    for path in looked:
        if path.exists():
            return Settings(**{**_read(path), **from_environment})
    raise Unavailable(
        "no gateway is configured; looked at PVESMB_GATEWAY and " + ", ".join(map(str, looked)),
        help="Start one with `make run`, or name one with --gateway or PVESMB_GATEWAY.",
    )


def _read(path: Path) -> dict[str, str]:
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidArgument(f"{path}: {error}") from None
    unknown = sorted(set(values) - set(_KEYS))
    if unknown or "gateway" not in values or not all(isinstance(value, str) for value in values.values()):
        wrong = f"unknown key {unknown[0]!r}" if unknown else 'needs gateway = "…", and strings only'
        raise InvalidArgument(f"{path}: {wrong}")
    return values
