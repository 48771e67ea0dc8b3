"""Channels to the gateway: credentials, deadlines, retries."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import grpc

from pvesmb._config import Settings, Tls, is_loopback, is_unix, read_file
from pvesmb._errors import ConfigError, Unavailable, from_rpc

T = TypeVar("T")

#: Deadline of every call but WaitOperation, whose own time comes on top.
CALL_SECONDS = 60.0
#: With the pauses between them, about as long as a service takes to come back after a crash.
_WRITE_ATTEMPTS = 7


@dataclass(frozen=True)
class Pace:
    """How a client waits. Tests give another clock."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[float, float], float] = random.uniform
    #: First pause before a change is tried again; each next one is three times as long, up to 5 s.
    retry_pause: float = 0.1
    #: One WaitOperation while only the end is of interest.
    wait_slice: float = 30.0
    #: One WaitOperation while progress is shown: so old may it be at most.
    progress_slice: float = 0.25
    #: First pause after a WaitOperation that came back early, and the longest.
    early_pause: float = 0.05
    early_pause_max: float = 2.0
    #: So long may gateway or backend be away while an operation is waited for: it survives their restart.
    patience: float = 60.0

    def jitter(self, seconds: float) -> float:
        return seconds * self.chance(0.5, 1.5)


@dataclass(frozen=True)
class Caller:
    """Makes calls on one channel. Errors come as `PvesmbError`."""

    channel: grpc.Channel
    target: str
    token: str = ""
    pace: Pace = Pace()
    timeout: float = CALL_SECONDS

    def read(self, method: Callable[..., T], request: Any, *, more_time: float = 0.0) -> T:
        """Calls a method that changes nothing; gRPC itself tries it again by the shipped service config."""
        metadata = [("authorization", f"Bearer {self.token}")] if self.token else None
        try:
            return method(request, timeout=self.timeout + more_time, metadata=metadata)
        except grpc.RpcError as error:
            raise from_rpc(error, self.target) from None

    def write(self, method: Callable[..., T], request: Any) -> T:
        """Calls a method that changes something. The request carries a request_id, so it can be tried again without being
        done twice; without one it would not be."""
        pause = self.pace.retry_pause
        for _ in range(_WRITE_ATTEMPTS - 1):
            try:
                return self.read(method, request)
            except Unavailable:
                if not request.request_id:
                    raise
            self.pace.sleep(self.pace.jitter(pause))
            pause = min(pause * 3, 5.0)
        return self.read(method, request)


def open_channel(settings: Settings) -> grpc.Channel:
    """A channel with the shipped service config. Plain text is spoken on a unix socket, and on loopback if asked."""
    target, tls = settings.gateway, settings.tls
    options = [
        ("grpc.service_config", resources.files("pvesmb").joinpath("service_config.json").read_text()),
        ("grpc.primary_user_agent", "pvesmb-python"),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A proxy for the web (http_proxy) is none for the gateway, which is often on this machine.
        ("grpc.enable_http_proxy", 0),
    ]
    if is_unix(target) or (settings.insecure_loopback and tls is None):
        if not is_unix(target) and not is_loopback(target):
            raise ConfigError(f"{target} is not on this machine, so plain text is refused", help="Set ca, cert and key.")
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, _credentials(tls or Tls()), options=options)


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    credentials: grpc.ChannelCredentials = grpc.ssl_channel_credentials(
        root_certificates=_read(tls.ca), private_key=_read(tls.key), certificate_chain=_read(tls.cert)
    )
    return credentials


def _read(path: Path | None) -> bytes | None:
    return None if path is None else read_file(path)
