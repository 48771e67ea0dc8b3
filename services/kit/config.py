"""Configuration at the edge: one TOML file, overridden by environment variables, checked as a whole before anything starts.

A process that cannot be configured must say which file, which key and what to do, and must not start half way.
"""

from __future__ import annotations

import ipaddress
import os
import resource
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from services.core.errors import PvesmbError

M = TypeVar("M", bound=BaseModel)

#: sun_path of a Unix socket address is 108 bytes with its terminating zero (unix(7)).
_UNIX_PATH_MAX = 107


class ConfigError(Exception):
    """The process cannot start as configured. The text is for the administrator: file, key, what to do."""


class Config(BaseModel):
    """Base of every configuration model: unknown keys are errors, because a misspelt key is otherwise a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsConfig(Config):
    """Certificate files in PEM. They are watched: replacing them on disk is enough to rotate them."""

    ca_file: str = Field(description="authority whose certificates the other side must show")
    cert_file: str = Field(description="our certificate, with its chain")
    key_file: str = Field(description="private key of the certificate")


@dataclass(frozen=True)
class Address:
    """One parsed listen address: a Unix socket (`path`) or TCP (`host`, `port`)."""

    path: str = ""
    host: str = ""
    port: int = 0

    @property
    def target(self) -> str:
        """As gRPC wants it."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return not self.path and (self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback)


def parse_address(text: str) -> Address:
    """`unix:/absolute/path`, `127.0.0.1:7443`, `[::1]:7443` or `localhost:7443`; ValueError says what is wrong."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > _UNIX_PATH_MAX:
            raise ValueError(f"{text!r}: a Unix socket needs an absolute path of at most {_UNIX_PATH_MAX} bytes")
        return Address(path=path)
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r}: write HOST:PORT or unix:/path")
    if host != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f"{text!r}: the host must be an IP address of this machine, or localhost") from None
    return Address(host=host, port=int(port))


class ListenConfig(Config):
    """Where a server listens and how it knows who calls."""

    listen: list[str] = Field(default=[], description="unix:/path (mode 0600), or HOST:PORT with client certificates")
    #: gRPC for Python cannot ask for an optional client certificate, so bearer tokens need an address of their own.
    token_listen: list[str] = Field(default=[], description="HOST:PORT with TLS, where callers show a bearer token")
    tls: TlsConfig | None = Field(default=None, description="needed for every address that is not a Unix socket")
    tokens_file: str = Field(default="", description="TOML file with [tokens.NAME] sha256, role")
    insecure_loopback: bool = Field(
        default=False, description="plain TCP for `listen` on loopback: every user of this machine is administrator"
    )

    @model_validator(mode="after")
    def _check(self) -> ListenConfig:
        if not self.listen and not self.token_listen:
            raise ValueError('listen: name at least one address, such as "unix:/run/pvesmb/gateway.sock"')
        for text in self.listen:
            address = parse_address(text)
            if address.path or (self.tls and not self.insecure_loopback):
                continue
            if not self.insecure_loopback:
                raise ValueError(f"listen: {text!r} needs [tls], or insecure_loopback = true on a loopback address")
            if not address.is_loopback:
                raise ValueError(f"listen: {text!r} is not loopback, so it needs [tls] and not insecure_loopback")
        for text in self.token_listen:
            if parse_address(text).path:
                raise ValueError(f"token_listen: {text!r} must be HOST:PORT; a Unix socket needs no token")
            if not self.tls or not self.tokens_file:
                raise ValueError("token_listen: needs [tls] and tokens_file")
        return self


class ServerConfig(ListenConfig):
    """What every process of ours is told."""

    metrics_listen: str = Field(default="", description="HOST:PORT of /metrics; empty for none")
    max_workers: int = Field(default=96, ge=2, le=1024, description="threads that serve calls")
    max_concurrent_rpcs: int = Field(default=96, ge=2, description="calls at once; more get RESOURCE_EXHAUSTED")
    drain_seconds: float = Field(default=10.0, ge=0, le=3600, description="time for running calls when stopping")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", description="least level logged")

    @model_validator(mode="after")
    def _check_metrics(self) -> ServerConfig:
        if self.metrics_listen and parse_address(self.metrics_listen).path:
            raise ValueError("metrics_listen: must be HOST:PORT")
        return self


def load(model: type[M], path: str | None, env_prefix: str) -> M:
    """Reads the file (none: defaults only), lays the environment over it and checks the result; or raises ConfigError.

    Environment: `PREFIX` + key in capitals, nested keys joined by `__`, lists as JSON:
    `PVESMB_GATEWAY_LISTEN='["unix:/run/x.sock"]'`, `PVESMB_GATEWAY_TLS__CA_FILE=/etc/x/ca.pem`.
    """
    settings = _merge(_read(path) if path else {}, _environment(model, env_prefix))
    try:
        return model.model_validate(settings)
    except ValidationError as e:
        raise ConfigError(_explain(e, path or "the environment", env_prefix)) from None


def read_toml(path: str) -> dict[str, Any]:
    """A TOML file as a dictionary; ConfigError if it cannot be read or parsed."""
    return _read(path)


def run(main: Callable[[], int]) -> int:
    """Runs a process's main function; a ConfigError becomes one line on stderr and exit status 2, and what
    keeps it from starting otherwise, such as a store that is in use, one and exit status 1.

    No crash of ours, or of what we start, writes memory to a file: there are passwords in it while they are set.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        return main()
    except ConfigError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except PvesmbError as e:
        print(f"error: {e.message}. {e.help}".rstrip(), file=sys.stderr)
        return 1


def _read(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}. Create the file, or name another one.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: not valid TOML: {e}. Correct that line.") from None


def _environment(model: type[BaseModel], prefix: str) -> dict[str, Any]:
    for variable in os.environ:
        if variable.startswith(prefix) and variable.removeprefix(prefix).split("__")[0].lower() not in model.model_fields:
            raise ConfigError(f"environment {variable}: unknown key; correct or remove it")
    config = SettingsConfigDict(env_prefix=prefix, env_nested_delimiter="__", extra="forbid")
    settings = type("Environment", (model, BaseSettings), {"model_config": config, "__annotations__": {}})
    try:
        return dict(EnvSettingsSource(settings)())
    except Exception as e:  # SettingsError has no common base with the JSON errors below it
        raise ConfigError(f"environment {prefix}*: {e}. Lists and tables are written as JSON.") from None


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _explain(error: ValidationError, source: str, prefix: str) -> str:
    # Only place and message: pydantic's own text repeats the value, which may be a secret.
    lines = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        key = ".".join(map(str, item["loc"]))
        if item["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key; correct or remove it")
        elif item["type"] == "missing":
            lines.append(f"{key}: required; set it in the file or as {prefix}{key.replace('.', '__').upper()}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"{key}: {message}" if key else message)
    return f"{source}: " + "; ".join(lines)
