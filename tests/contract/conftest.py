"""fakepve as the suites of the client and of the modes use it."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest
from fakepve import FakePve

from services.proxmox.logins import Password
from services.proxmox.preflight import Needs
from services.proxmox.session import Endpoint, Session
from tests.contract.fake_node import TOKEN, grant


@pytest.fixture
def needs() -> Needs:
    return Needs("pve1", "local-lvm", ["local-lvm"], "local", "vmbr0", pool="smbgw")


@pytest.fixture
def sessions() -> Iterator[list[Session]]:
    """Closed after the fake has ended. It leaves half-closed connections behind that warn when they are collected; they
    are collected here, where only they can be meant."""
    sessions: list[Session] = []
    yield sessions
    for session in sessions:
        session.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def fake(sessions: list[Session], fakepve: FakePve, needs: Needs) -> FakePve:
    """fakepve with the least rights, a pool and a template."""
    fakepve.apitokens[f"{TOKEN.user}!{TOKEN.name}"] = TOKEN.value
    fakepve.pools["smbgw"] = set()
    fakepve.store_file("local", "debian-12-smb_1_amd64.tar.zst", 1000, content="vztmpl")
    for path, privileges in needs.privileges().items():
        grant(fakepve, path, *privileges)
    return fakepve


@pytest.fixture
def session(fake: FakePve, fakepve_cafile: str, sessions: list[Session]) -> Session:
    sessions.append(Session(Endpoint("127.0.0.1", fake.port, ca_file=fakepve_cafile), TOKEN))
    return sessions[-1]


@pytest.fixture
def fake_root(fake: FakePve, fakepve_cafile: str, sessions: list[Session]) -> Session:
    """A password login of root@pam."""
    sessions.append(Session(Endpoint("127.0.0.1", fake.port, ca_file=fakepve_cafile), Password("root@pam", "secret")))
    return sessions[-1]
