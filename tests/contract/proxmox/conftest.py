"""What the suite runs against. Another live node is one more name in `LIVE` and a fixture of that name that gives a
`Place`."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest
from fakepve import FakePve

from packaging.stack.node import NODE, POOL, ROOTS, STORE, USER, LocalNode
from packaging.stack.node import TOKEN as TOKEN_NAME
from services.core.errors import PvesmbError
from services.proxmox.containers import Guest, configure, destroy, list_containers
from services.proxmox.failures import Kind, kind_of
from services.proxmox.logins import Password, Token
from services.proxmox.preflight import Needs
from services.proxmox.session import Endpoint, Session
from services.proxmox.tasks import wait
from tests.contract.proxmox.place import Place
from tests.local_node import local_node
from tests.tiny import tiny_template

LIVE = ["fake_node", "btrfs_node", "directory_node"]
TOKEN = Token("smbgw@pve", "gw", "11111111-2222-3333-4444-555555555555")
TEMPLATE = "local:vztmpl/debian-12-smb_1_amd64.tar.zst"


def grant(pve: FakePve, path: str, *privileges: str) -> None:
    """To user and token: the fake adds their rights up where a real node intersects them."""
    for who in (TOKEN.user, f"{TOKEN.user}!{TOKEN.name}"):
        pve.grant(who, path, *privileges)


@pytest.fixture
def needs() -> Needs:
    return Needs("pve1", "local-lvm", ["local-lvm"], "local", "vmbr0", pool="smbgw", template=TEMPLATE)


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
    sessions.append(Session(Endpoint("127.0.0.1", fake.port, ca_file=fakepve_cafile), Password("root@pam", "secret")))
    return sessions[-1]


@pytest.fixture
def fake_node(session: Session, fake_root: Session) -> Place:
    return Place(session, "pve1", "local-lvm", "local", TEMPLATE, "vmbr0", "smbgw", fake_root)


@pytest.fixture(scope="session")
def stand_in() -> Iterator[LocalNode]:
    """One localnode for all, with real containers."""
    with local_node() as node:
        cache = node.directory / "local" / "template" / "cache"
        cache.mkdir(parents=True)
        tiny_template(cache / "tiny.tar.gz")
        yield node


@pytest.fixture
def btrfs_node(stand_in: LocalNode, sessions: list[Session]) -> Iterator[Place]:
    yield from stand_in_place(stand_in, ROOTS, sessions)


@pytest.fixture
def directory_node(stand_in: LocalNode, sessions: list[Session]) -> Iterator[Place]:
    yield from stand_in_place(stand_in, STORE, sessions)


def stand_in_place(node: LocalNode, storage: str, sessions: list[Session]) -> Iterator[Place]:
    """Without guests, before and after; but for those that a test has locked, which only the node itself could unlock."""
    root, token = node.root(), Token(USER, TOKEN_NAME, node.token_file.read_text().strip())
    sessions += [Session(node.endpoint, token), root]
    template = f"{STORE}:vztmpl/tiny.tar.gz"
    yield Place(sessions[-2], NODE, storage, STORE, template, node.bridge, POOL, root)
    for left in list_containers(root, NODE):
        try:
            configure(root, Guest(NODE, left.vmid), {}, delete=["protection"])
            wait(root, destroy(root, Guest(NODE, left.vmid)), timeout=60)
        except PvesmbError as error:
            assert kind_of(error) is Kind.LOCKED


@pytest.fixture(params=LIVE)
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found
