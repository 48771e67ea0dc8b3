"""Channels to the gateway: credentials, deadlines, retries."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import grpc

from pvesmb._config import Settings
from pvesmb._errors import InvalidArgument, Unavailable, from_rpc

T = TypeVar("T")

CALL_SECONDS = 60.0
_WRITE_ATTEMPTS = 4


def open_channel(settings: Settings) -> grpc.Channel:
    """A channel whose reads are tried again while the gateway is away (the shipped service config)."""
    config = resources.files("pvesmb").joinpath("service_config.json").read_text()
    options = [
        ("grpc.service_config", json.dumps(json.loads(config))),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
    if settings.gateway.startswith("unix:"):
        return grpc.insecure_channel(settings.gateway, options=options)
    if not settings.ca:
        raise InvalidArgument(
            f"{settings.gateway} needs the certificate of its authority",
            help="Set ca in the client's configuration, or PVESMB_CA.",
        )
    credentials: grpc.ChannelCredentials = grpc.ssl_channel_credentials(
        root_certificates=_bytes(settings.ca),
        private_key=_bytes(settings.key) if settings.key else None,
        certificate_chain=_bytes(settings.cert) if settings.cert else None,
    )
    if settings.token_file:
        token = _bytes(settings.token_file).decode().strip()
        credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
    return grpc.secure_channel(settings.gateway, credentials, options=options)


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}") from None


def read(method: Callable[..., T], request: Any, *, timeout: float = CALL_SECONDS) -> T:
    """Calls a method that changes nothing; errors as `PvesmbError`."""
    try:
        return method(request, timeout=timeout)
    except grpc.RpcError as error:
        raise from_rpc(error) from None


def write(method: Callable[..., T], request: Any) -> T:
    """Calls a method that changes something. The request carries a request_id, so while the gateway is away it can be
    tried again without being done twice."""
    pause = 0.1
    for attempt in range(_WRITE_ATTEMPTS):
        try:
            return read(method, request)
        except Unavailable:
            if attempt == _WRITE_ATTEMPTS - 1:
                raise
        time.sleep(pause * random.uniform(0.7, 1.3))
        pause *= 3
    raise AssertionError
