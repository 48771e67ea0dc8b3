"""A file server's steps against fakepve, with the least rights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakepve import FakePve

from services.proxmox.logins import Password
from services.proxmox.session import Endpoint, Session
from tests.contract.fake_node import TOKEN
from tests.contract.lxc.world import Bench, server


@pytest.fixture
def bench(fake: FakePve, session: Session) -> Iterator[Bench]:
    """Afterwards no call has held what Proxmox VE does not read, nor an ownerless secret."""
    yield Bench(fake, session, server())
    for method, path, body in fake.requests:
        assert b"True" not in body and b"False" not in body, (method, path, body)
        assert TOKEN.value.encode() not in body


@pytest.fixture
def root(fake: FakePve, fakepve_cafile: str, sessions: list[Session]) -> Session:
    """A password login of root@pam."""
    sessions.append(Session(Endpoint("127.0.0.1", fake.port, ca_file=fakepve_cafile), Password("root@pam", "secret")))
    return sessions[-1]


@pytest.fixture
def running(bench: Bench) -> Bench:
    """With a container that runs."""
    bench.ensure()
    return bench
