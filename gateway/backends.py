"""The backends, from a TOML file that may change while we run.

    [backends.node1]
    target = "unix:/run/pvesmb/native.sock"

    [backends.node2]
    target = "10.0.0.2:7444"
    tls = { ca_file = "…", cert_file = "…", key_file = "…" }

Channels are kept open. A backend that is removed or changed loses its channel when its last running call has ended. A new
file that cannot be used leaves the old one in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any

import grpc
import grpc.aio
from pydantic import Field, ValidationError, field_validator, model_validator

from services.core.errors import BackendUnknown
from services.kit import tls as kit_tls
from services.kit.config import Config, ConfigError, TlsConfig, parse_address, read_toml
from services.kit.listen import MESSAGE_MAX
from services.kit.watch import Watched

_log = getLogger(__name__)
_ID = re.compile(r"[a-z][a-z0-9-]{0,39}\Z")
_LOOK_SECONDS = 1.0

Metadata = Sequence[tuple[str, str | bytes]]

_CHANNEL_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", MESSAGE_MAX),
    ("grpc.max_send_message_length", MESSAGE_MAX),
    # A backend that has come back should be found within a second, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Else a changed backend would share the connection, and the credentials, of its former self.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


class BackendConfig(Config):
    """How one backend is reached."""

    target: str = Field(description="unix:/path or HOST:PORT")
    tls: TlsConfig | None = None
    server_name: str = Field(default="", description="name in the backend's certificate, if it is not the host")
    insecure_loopback: bool = False

    @model_validator(mode="after")
    def _check(self) -> BackendConfig:
        if self.target.startswith("unix:"):
            parse_address(self.target)
            return self
        host, _, port = self.target.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("target must be unix:/path or HOST:PORT")
        if self.tls is None and not (self.insecure_loopback and _is_loopback(host)):
            raise ValueError("a target that is no Unix socket needs tls, or insecure_loopback on a loopback address")
        return self


class BackendsFile(Config):
    """The file as a whole."""

    backends: dict[str, BackendConfig] = Field(default={})

    @field_validator("backends")
    @classmethod
    def _check_ids(cls, value: dict[str, BackendConfig]) -> dict[str, BackendConfig]:
        for id in value:
            if not _ID.match(id):
                raise ValueError(
                    f"{id!r}: an id is 1 to 40 lower-case letters, digits and hyphens, beginning with a letter"
                )
        return value


@dataclass(frozen=True)
class Reply:
    """How a call to a backend ended; `response` is None unless the code is OK."""

    code: grpc.StatusCode
    details: str
    initial: Metadata
    trailing: Metadata
    response: bytes | None


@dataclass(eq=False)
class Backend:
    """One backend and its channel."""

    id: str
    config: BackendConfig
    channel: grpc.aio.Channel
    files: Watched
    up: bool = False
    _running: int = 0
    _retired: bool = False
    _closing: asyncio.Task[None] | None = None
    _callables: dict[str, Any] = field(default_factory=dict)

    def callable(self, method: str, request_streaming: bool, response_streaming: bool) -> Any:
        """What calls the method with raw bytes; made once.

        A stream of requests is always called as if it had a stream of responses, which is the same on the wire: the form
        of grpc.aio for a single response can lose the status altogether (see `gateway.ends`).
        """
        found = self._callables.get(method)
        if found is None:
            if request_streaming:
                found = self.channel.stream_stream(method)
            else:
                found = self.channel.unary_stream(method) if response_streaming else self.channel.unary_unary(method)
            self._callables[method] = found
        return found

    async def unary(self, method: str, request: bytes, *, timeout: float | None, metadata: Metadata) -> Reply:
        """One unary call. It is cancelled when the task that waits for it is."""
        with self.lease():
            begin = self.callable(method, False, False)
            call = begin(request, timeout=timeout, metadata=metadata, wait_for_ready=False)
            try:
                response = await call
            except grpc.aio.AioRpcError:
                response = None
            initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
            code, details = await call.code(), await call.details() or ""
            return Reply(code, details, tuple(initial or ()), tuple(trailing or ()), response)

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        """Keeps the channel open while a call runs, though the backend may be removed meanwhile."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._close_if_unused()

    def retire(self) -> None:
        """No new calls will come; the channel goes with the last running one."""
        self._retired = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._retired and not self._running and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self.channel.close())


class Backends:
    """The backends of the file. Belongs to one event loop."""

    def __init__(self, path: str) -> None:
        """ConfigError if the file cannot be used."""
        self._path = path
        self._file = Watched([path])
        self._looked = time.monotonic()
        self._by_id: dict[str, Backend] = {}
        #: Why the file that lies there is not in force; empty while it is.
        self.problem = ""
        self._apply()

    def get(self, id: str) -> Backend:
        """The backend of this id; `BackendUnknown` if there is none."""
        self.refresh_if_old()
        found = self._by_id.get(id)
        if found is None:
            raise BackendUnknown(f"backends/{id} is not a backend of this gateway", metadata={"backend": id})
        return found

    def all(self) -> list[Backend]:
        """In the order of their resource names: `a-b/` comes before `a/`."""
        return sorted(self._by_id.values(), key=lambda b: f"{b.id}/")

    def refresh_if_old(self) -> None:
        """Looks at the file, at most once a second."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self.refresh()

    def refresh(self) -> None:
        """Looks at the file and the certificates, and applies what has changed."""
        self._looked = time.monotonic()
        changed = self._file.changed()
        if not changed and not self.problem and not any(b.files.differs() for b in self._by_id.values()):
            return
        try:
            self._apply()
        except ConfigError as e:
            if self.problem != str(e):
                _log.error("backends file not used, the former one stays in force", extra={"error": str(e)})
            self.problem = str(e)
        else:
            self.problem = ""
            _log.info("backends file read", extra={"backends": sorted(self._by_id)})

    async def watch(self) -> None:
        """Looks at the file for ever; run it as a task."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.refresh_if_old()

    async def close(self) -> None:
        """Closes every channel."""
        await asyncio.gather(*(b.channel.close() for b in self._by_id.values()))

    def _apply(self) -> None:
        wanted = _parse(self._path)
        fresh = {id: self._keep_or_make(id, config) for id, config in wanted.items()}
        former, self._by_id = self._by_id, fresh
        for id, backend in former.items():
            if fresh.get(id) is not backend:
                backend.retire()

    def _keep_or_make(self, id: str, config: BackendConfig) -> Backend:
        old = self._by_id.get(id)
        if old is not None and old.config == config and not old.files.differs():
            return old
        files = kit_tls.watched(config.tls) if config.tls else Watched([])
        return Backend(id, config, _channel(config), files)


def _parse(path: str) -> Mapping[str, BackendConfig]:
    try:
        return BackendsFile.model_validate(read_toml(path)).backends
    except ValidationError as e:
        errors = e.errors(include_url=False, include_input=False, include_context=False)
        text = "; ".join(f"{'.'.join(map(str, i['loc']))}: {i['msg'].removeprefix('Value error, ')}" for i in errors)
        raise ConfigError(f"{path}: {text}. Correct the named keys.") from None


def _channel(config: BackendConfig) -> grpc.aio.Channel:
    options = list(_CHANNEL_OPTIONS)
    if config.tls is None:
        return grpc.aio.insecure_channel(config.target, options=options)
    if config.server_name:
        options.append(("grpc.ssl_target_name_override", config.server_name))
    return grpc.aio.secure_channel(config.target, kit_tls.client_credentials(config.tls), options=options)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
