"""Binding: sockets of the dead are replaced, those of the living are not."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from services.kit.config import ConfigError, ListenConfig
from services.kit.listen import SERVER_OPTIONS, bind


@pytest.fixture
def make() -> Iterator[list[grpc.Server]]:
    servers = [grpc.server(ThreadPoolExecutor(1), options=SERVER_OPTIONS) for _ in range(2)]
    yield servers
    for server in servers:
        server.stop(0).wait()


def test_socket_is_ours_alone(place: Path, make: list[grpc.Server]) -> None:
    bind(make[0], ListenConfig(listen=[f"unix:{place}/s"]))
    assert os.stat(place / "s").st_mode & 0o777 == 0o600


def test_stale_socket_is_replaced(place: Path, make: list[grpc.Server]) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{place}/s")
    assert bind(make[0], ListenConfig(listen=[f"unix:{place}/s"])) == [f"unix:{place}/s"]


def test_living_socket_is_left_alone(place: Path, make: list[grpc.Server]) -> None:
    config = ListenConfig(listen=[f"unix:{place}/s"])
    bind(make[0], config)
    make[0].start()
    with pytest.raises(ConfigError, match="another process"):
        bind(make[1], config)
    with grpc.insecure_channel(config.listen[0]) as channel:
        grpc.channel_ready_future(channel).result(timeout=10)


def test_missing_directory(place: Path, make: list[grpc.Server]) -> None:
    with pytest.raises(ConfigError, match="directory"):
        bind(make[0], ListenConfig(listen=[f"unix:{place}/none/s"]))


def test_port_in_use(make: list[grpc.Server]) -> None:
    (target,) = bind(make[0], ListenConfig(listen=["127.0.0.1:0"], insecure_loopback=True))
    assert not target.endswith(":0")
    with pytest.raises(ConfigError, match="another program"):
        bind(make[1], ListenConfig(listen=[target], insecure_loopback=True))
