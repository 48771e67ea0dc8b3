"""Calls with raw bytes, as no client library would make them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from pvesmb._errors import from_rpc

from gateway.app import FORWARDED, OWN
from tests.e2e.deployment import Deployment


def methods() -> Sequence[tuple[str, MethodDescriptor]]:
    """Every method of the contract, with its path."""
    return [(f"/{service.full_name}/{m.name}", m) for service in (*FORWARDED, OWN) for m in service.methods]


class Raw:
    """Sends bytes to a method; errors come as the client library has them."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def __call__(self, path: str, data: bytes, *, timeout: float = 60.0) -> bytes:
        try:
            method: Any = self._channel.unary_unary(path)
            answer: bytes = method(data, timeout=timeout)
        except grpc.RpcError as error:
            raise from_rpc(error, "the gateway") from None
        return answer


@contextmanager
def raw(deployment: Deployment) -> Iterator[Raw]:
    with grpc.insecure_channel(f"unix:{deployment.gateway.socket}") as channel:
        yield Raw(channel)
