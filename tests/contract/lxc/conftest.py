"""A file server's steps against fakepve, with the least rights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakepve import FakePve

from services.proxmox.session import Session
from tests.contract.fake_node import TOKEN
from tests.contract.lxc.world import Bench, server


@pytest.fixture
def bench(fake: FakePve, session: Session) -> Iterator[Bench]:
    """Afterwards no call has held what Proxmox VE does not read, nor our secret."""
    yield Bench(fake, session, server())
    for method, path, body in fake.requests:
        assert b"True" not in body and b"False" not in body, (method, path, body)
        assert TOKEN.value.encode() not in body


@pytest.fixture
def running(bench: Bench) -> Bench:
    """With a container that runs."""
    bench.ensure()
    return bench
