"""A real sshd on the loopback, and hosts that reach it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ssh.host import SshHost
from services.ssh.hosts import SshHosts
from services.ssh.keys import Key, key_from
from tests.contract.ssh.proxy import Proxy
from tests.contract.ssh.sshd import Sshd

UID = "5f1f3c52-6b6c-4f5e-9a3d-0f2d3a6f7b11"


class Pins(dict[str, str]):
    """Where a mode keeps the host keys."""

    def pin(self, uid: str, line: str) -> None:
        self.setdefault(uid, line)


@pytest.fixture(scope="module")
def key() -> Key:
    return key_from("a password of 32 characters here")


@pytest.fixture(scope="module")
def shared_sshd(key: Key, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """For tests that leave it as it is."""
    yield from _running(Sshd(tmp_path_factory.mktemp("sshd")), key)


@pytest.fixture
def sshd(key: Key, tmp_path: Path) -> Iterator[Sshd]:
    """For one test alone."""
    yield from _running(Sshd(tmp_path), key)


def _running(sshd: Sshd, key: Key) -> Iterator[Sshd]:
    sshd.prepare(key.public_line)
    try:
        sshd.start()
        yield sshd
    finally:
        sshd.stop()


@pytest.fixture
def pins() -> Pins:
    return Pins()


@pytest.fixture
def hosts(pins: Pins) -> Iterator[SshHosts]:
    hosts = SshHosts(pins.get, pins.pin)
    yield hosts
    hosts.close()


@pytest.fixture
def host(shared_sshd: Sshd, hosts: SshHosts, key: Key) -> SshHost:
    return hosts.host(UID, "127.0.0.1", key, shared_sshd.port)


@pytest.fixture
def proxy(shared_sshd: Sshd) -> Iterator[Proxy]:
    proxy = Proxy(shared_sshd.port)
    yield proxy
    proxy.close()


@pytest.fixture
def place() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pvesmb-ssh-") as path:
        os.chmod(path, 0o755)
        yield path
