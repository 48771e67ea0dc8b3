"""What the suite runs against. Another live node is one more name in `LIVE` and a fixture of that name that gives a
`Place`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from packaging.stack.node import NODE, POOL, ROOTS, STORE, TOKEN, USER, LocalNode
from services.core.errors import PvesmbError
from services.proxmox.containers import Guest, configure, destroy, list_containers
from services.proxmox.failures import Kind, kind_of
from services.proxmox.logins import Token
from services.proxmox.session import Session
from services.proxmox.storage import delete_stored, list_stored
from services.proxmox.tasks import wait
from tests.contract.fake_node import TEMPLATE
from tests.contract.proxmox.place import Place
from tests.local_node import local_node
from tests.tiny import tiny_template

#: fakepve; and a stand-in node with real containers, whose volumes are of either kind.
LIVE = ["fake_node", "btrfs_node", "directory_node"]
TINY = f"{STORE}:vztmpl/tiny.tar.gz"


@pytest.fixture
def fake_node(session: Session, fake_root: Session) -> Place:
    return Place(session, "pve1", "local-lvm", "local", TEMPLATE, "vmbr0", "smbgw", fake_root)


@pytest.fixture(scope="session")
def stand_in() -> Iterator[LocalNode]:
    """One for all tests that ask."""
    with local_node() as node:
        cache = node.directory / STORE / "template" / "cache"
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
    root = node.root()
    api = Session(node.endpoint, Token(USER, TOKEN, node.token_file.read_text().strip()))
    sessions += [api, root]
    yield Place(api, NODE, storage, STORE, TINY, node.bridge, POOL, root)
    for left in list_containers(root, NODE):
        try:
            configure(root, Guest(NODE, left.vmid), {}, delete=["protection"])
            wait(root, destroy(root, Guest(NODE, left.vmid)), timeout=60)
        except PvesmbError as error:
            assert kind_of(error) is Kind.LOCKED
    for stored in list_stored(root, NODE, STORE, content="vztmpl"):
        if stored.volid != TINY and (upid := delete_stored(root, NODE, stored.volid)):
            wait(root, upid, timeout=60)


@pytest.fixture(params=LIVE)
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found
