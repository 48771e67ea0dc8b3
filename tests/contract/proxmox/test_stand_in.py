"""What only a node can show that judges rights as a real one does, and whose disks are full some day."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count

import pytest

from packaging.stack.node import NODE, POOL, ROOTS, STORE, LocalNode
from services.core.errors import PvesmbError, StorageFull
from services.proxmox.containers import Guest, create, find, pending, read_config, start
from services.proxmox.failures import Kind, kind_of
from services.proxmox.ids import next_id
from services.proxmox.logins import Token
from services.proxmox.mounts import NewVolume
from services.proxmox.preflight import Needs, preflight
from services.proxmox.session import Session
from services.proxmox.storage import list_stored
from services.proxmox.tasks import wait
from services.proxmox.volumes import add_volume, grow_volume
from tests.contract.proxmox.place import GIB, Place

HUGE = 2**50
NEEDS = Needs(NODE, ROOTS, [STORE], STORE, "", pool=POOL)
_USERS = count(1)
stand_ins = pytest.mark.parametrize("place", ["btrfs_node", "directory_node"], indirect=True)


def needs(place: Place) -> Needs:
    return replace(NEEDS, bridge=place.bridge)


def privileges() -> list[tuple[str, str]]:
    """By path; that of the bridge has another end on each node."""
    return [(path, each) for path, all in replace(NEEDS, bridge="vmbr").privileges().items() for each in all]


def token_without(place: Place, path: str, privilege: str) -> Token:
    """Of a user that has all that is needed, but for one privilege."""
    user, api = f"less{next(_USERS)}@pve", place.root
    api.call("POST", ("access", "users"), {"userid": user})
    for number, (where, all) in enumerate(needs(place).privileges().items()):
        role = f"{user.partition('@')[0]}-{number}"
        left = [each for each in all if (where, each) != (path, privilege)]
        api.call("POST", ("access", "roles"), {"roleid": role, "privs": ",".join(left)})
        api.call("PUT", ("access", "acl"), {"path": where, "users": user, "roles": role})
    made = api.call("POST", ("access", "users", user, "token", "t1"), {"privsep": False})
    return Token(user, "t1", made["value"])


def test_the_least_rights_are_enough(btrfs_node: Place) -> None:
    assert preflight(btrfs_node.api, needs(btrfs_node)) == []


@pytest.mark.parametrize(("path", "privilege"), privileges())
def test_each_privilege_that_is_missing_is_named(
    btrfs_node: Place, stand_in: LocalNode, sessions: list[Session], path: str, privilege: str
) -> None:
    where = re.sub("vmbr$", btrfs_node.bridge, path)
    sessions.append(Session(stand_in.endpoint, token_without(btrfs_node, where, privilege)))
    missing = [each for each in preflight(sessions[-1], needs(btrfs_node)) if each.type == "PrivilegeMissing"]
    assert [each.message for each in missing] == [f"privilege {privilege} on {where} is missing"]


@stand_ins
@pytest.mark.parametrize("running", [False, True])
def test_a_volume_that_cannot_be_made_is_not_made_later(place: Place, running: bool) -> None:
    """A node keeps such a change pending, and would try again at the next start."""
    guest = place.made()
    if running:
        wait(place.api, start(place.api, guest), timeout=60)
    with pytest.raises(StorageFull):
        add_volume(place.api, guest, NewVolume(place.storage, HUGE, "/srv/a"))
    assert pending(place.api, guest) == frozenset()
    assert set(read_config(place.api, guest).mounts) == {"rootfs"}
    assert add_volume(place.api, guest, NewVolume(place.storage, GIB, "/srv/a")).size_bytes == GIB


@stand_ins
def test_a_volume_that_cannot_grow_stays_as_it_was(place: Place) -> None:
    guest = place.made()
    before = add_volume(place.api, guest, NewVolume(place.storage, GIB, "/srv/a"))
    upid = grow_volume(place.api, guest, "/srv/a", HUGE)
    assert upid is not None
    with pytest.raises(StorageFull):
        wait(place.api, upid, timeout=60)
    assert read_config(place.api, guest).mounts["mp0"] == before


@stand_ins
def test_a_create_that_finds_no_space_leaves_nothing(place: Place) -> None:
    guest = Guest(place.node, next_id(place.api))
    with pytest.raises(StorageFull):
        wait(place.api, create(place.api, guest, place.new(rootfs=NewVolume(place.storage, HUGE))), timeout=60)
    assert find(place.api, guest) is None
    assert list_stored(place.api, place.node, place.storage, vmid=guest.vmid) == []


@stand_ins
def test_a_protected_container_keeps_its_volumes_as_they_are(place: Place) -> None:
    guest = place.made(protection=True)
    with pytest.raises(PvesmbError) as refused:
        add_volume(place.api, guest, NewVolume(place.storage, GIB, "/srv/a"))
    assert kind_of(refused.value) is Kind.PROTECTED
