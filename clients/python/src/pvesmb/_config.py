"""How a client finds the gateway, and what it shows to be let in."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pvesmb._errors import ConfigError, GatewayNotFound

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s\[\]:/]+)):(?P<port>[0-9]{1,5})")
_TEXT_KEYS = ("gateway", "ca", "cert", "key", "token_file")
_FORMS = "write host:port, [IPv6]:port or unix:/path"


@dataclass(frozen=True)
class Tls:
    """PEM files for TLS. Without `ca` the usual public authorities count; `cert` and `key` show who the client is."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ConfigError("a client certificate needs both cert and key")


@dataclass(frozen=True)
class Settings:
    """Where the gateway is (`host:port` or `unix:/path`) and how to be let in; `source` says for people who said so.
    `insecure_loopback` allows plain text to a gateway on this machine."""

    gateway: str
    tls: Tls | None = None
    token_file: Path | None = None
    insecure_loopback: bool = False
    source: str = ""


def check_target(target: str) -> str:
    """The target, if it has one of the forms that are understood."""
    if target.startswith("unix:"):
        if len(target) > len("unix:"):
            return target
    elif (match := _HOST_PORT.fullmatch(target)) and 0 < int(match["port"]) < 65536:
        return target
    raise ConfigError(f"{target!r} is not the address of a gateway", help=f"{_FORMS.capitalize()}.")


def is_unix(target: str) -> bool:
    return target.startswith("unix:")


def is_loopback(target: str) -> bool:
    """Whether what is sent there stays on this machine."""
    match = _HOST_PORT.fullmatch(target)
    host = (match["v6"] or match["host"]) if match else ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find(gateway: str | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The gateway to use: the one given, else that of `PVESMB_GATEWAY`, else that of the first configuration file there is.

    With the first two, `PVESMB_CA`, `PVESMB_CERT`, `PVESMB_KEY` and `PVESMB_TOKEN_FILE` name the files to use. A file that
    `PVESMB_CONFIG` names must exist.
    """
    target, source = (gateway, "--gateway") if gateway else (environ.get("PVESMB_GATEWAY", ""), "PVESMB_GATEWAY")
    if target:
        values = {key: environ.get(f"PVESMB_{key.upper()}", "") for key in ("ca", "cert", "key", "token_file")}
        insecure = environ.get("PVESMB_INSECURE_LOOPBACK", "") == "1"
        return _gateway({"gateway": target, "insecure_loopback": insecure, **values}, Path(), source)
    if named := environ.get("PVESMB_CONFIG", ""):
        return _from_file(Path(named))
    places = [
        Path(sys.prefix).parent / "var" / "client.toml",
        Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/")) / ".config") / "pvesmb" / "client.toml",
        Path("/etc/pvesmb/client.toml"),
    ]
    for place in places:
        if place.is_file():
            return _from_file(place)
    looked = ", ".join(["--gateway", "PVESMB_GATEWAY", "PVESMB_CONFIG", *map(str, places)])
    raise GatewayNotFound(
        f"no gateway is known; looked at {looked}",
        help="Start one with `make run`, or name a running one: --gateway HOST:PORT.",
    )


def _from_file(path: Path) -> Settings:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", help="Correct PVESMB_CONFIG, or make the file readable.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    for key, value in values.items():
        wanted = str if key in _TEXT_KEYS else bool if key == "insecure_loopback" else None
        if wanted is None:
            raise ConfigError(f"{path}: unknown key {key!r}; known are {', '.join(_TEXT_KEYS)}, insecure_loopback")
        if not isinstance(value, wanted):
            raise ConfigError(f"{path}: {key} must be {'text in quotes' if wanted is str else 'true or false'}")
    if not values.get("gateway"):
        raise ConfigError(f"{path}: gateway is missing", help=f'Add the line gateway = "…" ({_FORMS}).')
    return _gateway(values, path.parent, str(path))


def _gateway(values: Mapping[str, Any], base: Path, source: str) -> Settings:
    """Paths are relative to the directory of the file that names them."""
    files = {key: base / values[key] if values.get(key) else None for key in ("ca", "cert", "key", "token_file")}
    tls = Tls(files["ca"], files["cert"], files["key"]) if files["ca"] or files["cert"] or files["key"] else None
    return Settings(
        check_target(values["gateway"]), tls, files["token_file"], bool(values.get("insecure_loopback")), source
    )


def read_file(path: Path) -> bytes:
    """The file, or an error that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", help="Correct the path, or make the file readable.") from None


def read_token(path: Path) -> str:
    """The token in a file, without the newline at its end."""
    token = read_file(path).decode("utf-8", "replace").strip()
    if not token.isascii() or not token.isprintable() or not token:
        raise ConfigError(f"{path} holds no token", help="Put the token, one line of ASCII characters, into the file.")
    return token
