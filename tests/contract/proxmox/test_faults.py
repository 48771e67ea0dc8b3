"""Calls that a node refuses or whose task fails, made so on the stand-in, and what we say of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakepve import FakePve

from services.core.errors import InvalidField, PvesmbError, StorageFull
from services.proxmox.containers import configure, create, destroy, find, read_config, start
from services.proxmox.failures import Kind, kind_of
from services.proxmox.ids import next_id
from services.proxmox.mounts import NewVolume
from services.proxmox.session import Endpoint
from services.proxmox.storage import delete_stored, list_stored, upload_template
from services.proxmox.tasks import Upid, active, wait
from services.proxmox.volumes import add_volume
from tests.contract.fake_node import grant
from tests.contract.proxmox.place import GIB, Place


def failure(place: Place, upid: Upid | None) -> PvesmbError:
    assert upid is not None
    with pytest.raises(PvesmbError) as failed:
        wait(place.api, upid, timeout=60)
    return failed.value


def test_a_locked_container_refuses_a_change_at_once_and_a_start_in_its_task(fake: FakePve, fake_node: Place) -> None:
    guest = fake_node.made()
    fake.snapshot_lock(guest.vmid, "backup")
    with pytest.raises(PvesmbError) as refused:
        configure(fake_node.api, guest, {"memory": 256})
    in_task = failure(fake_node, start(fake_node.api, guest))
    assert (kind_of(refused.value), kind_of(in_task)) == (Kind.LOCKED, Kind.LOCKED)
    assert (refused.value.metadata["lock"], in_task.metadata["lock"]) == ("backup", "backup")


def test_a_protected_container_is_not_destroyed(place: Place) -> None:
    guest = place.made(protection=True)
    with pytest.raises(PvesmbError) as refused:
        destroy(place.api, guest)
    assert kind_of(refused.value) is Kind.PROTECTED


def test_a_storage_that_takes_no_containers(fake: FakePve, fake_node: Place) -> None:
    grant(fake, "/storage/local", "Datastore.AllocateSpace")
    guest = fake_node.guest(next_id(fake_node.api))
    with pytest.raises(PvesmbError) as refused:
        create(fake_node.api, guest, fake_node.new(rootfs=NewVolume("local", GIB)))
    assert kind_of(refused.value) is Kind.CONTENT
    assert "content type rootdir on storage local" in refused.value.help
    assert find(fake_node.api, guest) is None


def test_a_missing_template_fails_and_leaves_nothing(fake: FakePve, fake_node: Place) -> None:
    guest = fake_node.guest(next_id(fake_node.api))
    with pytest.raises(PvesmbError) as refused:
        wait(fake_node.api, create(fake_node.api, guest, fake_node.new(template="local:vztmpl/none_1.tar.zst")), timeout=60)
    assert kind_of(refused.value) is Kind.NO_VOLUME
    assert find(fake_node.api, guest) is None


def test_a_full_storage(fake: FakePve, fake_node: Place, tmp_path: Path) -> None:
    fake.storages["local"]["avail"] = 1
    (tmp_path / "t_1_amd64.tar.zst").write_bytes(b"x" * 100)
    with pytest.raises(PvesmbError) as refused:
        wait(
            fake_node.api, upload_template(fake_node.api, "pve1", "local", str(tmp_path / "t_1_amd64.tar.zst")), timeout=60
        )
    assert isinstance(refused.value, StorageFull)


def test_a_start_that_fails_tells_why(fake: FakePve, fake_node: Place) -> None:
    guest = fake_node.made()
    fake.ct(guest.vmid).start_error = "command 'lxc-start' failed: exit code 1"
    error = failure(fake_node, start(fake_node.api, guest))
    assert kind_of(error) is Kind.FAILED
    assert "exit code 1" in error.message
    assert error.metadata["upid"].startswith("UPID:pve1:")


def test_a_task_that_only_warned_has_succeeded(fake: FakePve, fake_node: Place) -> None:
    upid = start(fake_node.api, fake_node.made())
    fake.tasks[upid.text]["exitstatus"] = "WARNINGS: 1"
    assert wait(fake_node.api, upid, timeout=60).upid == upid


def test_a_change_between_look_and_change_is_met_by_another_look(fake: FakePve, fake_node: Place) -> None:
    guest = fake_node.made()
    text = "detected modified configuration - file changed by other user? Try again."
    fake.fail("PUT", f"/nodes/pve1/lxc/{guest.vmid}/config", 500, text, times=2)
    assert add_volume(fake_node.api, guest, NewVolume(fake_node.storage, GIB, "/srv/a")).mount == "/srv/a"
    assert sum(key.startswith("mp") for key in read_config(fake_node.api, guest).mounts) == 1


@pytest.mark.fakepve(time_scale=0.01)
def test_a_task_whose_answer_was_lost_is_found_again(fake: FakePve, fake_node: Place) -> None:
    fake.ct_secs["create"] = 60
    guest = fake_node.guest(next_id(fake_node.api))
    upid = create(fake_node.api, guest, fake_node.new())
    assert active(fake_node.api, fake_node.node, guest.vmid) == [upid]
    wait(fake_node.api, upid, timeout=60)
    assert active(fake_node.api, fake_node.node, guest.vmid) == []


def test_a_template_is_deleted_by_who_may(fake: FakePve, fake_node: Place) -> None:
    with pytest.raises(PvesmbError) as refused:
        delete_stored(fake_node.api, fake_node.node, fake_node.template)
    assert kind_of(refused.value) is Kind.PRIVILEGE
    grant(fake, "/storage/local", "Datastore.Allocate")
    for _ in range(2):
        if upid := delete_stored(fake_node.api, fake_node.node, fake_node.template):
            wait(fake_node.api, upid, timeout=60)
        assert list_stored(fake_node.api, fake_node.node, "local", content="vztmpl") == []


@pytest.mark.parametrize("fingerprint", ["AB", "AB:" * 32, "zz" * 32, "AB" * 20])
def test_a_fingerprint_that_is_none(fingerprint: str) -> None:
    with pytest.raises(InvalidField):
        Endpoint("pve1", fingerprint=fingerprint)
