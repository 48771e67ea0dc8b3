"""Shares' volumes by `VolumeStep`: made, grown, let go of, destroyed, kept; and directories of the node."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakepve import FakePve

from services.core.domain.operation import Verb
from services.core.domain.share import VolumeStorage
from services.core.errors import (
    FeatureNotAvailable,
    HostUnreachable,
    LimitReached,
    PathUnsuitable,
    PreconditionFailed,
    ProxmoxDenied,
    StorageFull,
)
from services.core.steps import Change
from services.lxc.volume_step import kept_volumes
from services.proxmox.failures import Kind, kind_of
from services.proxmox.session import Session
from tests.contract.lxc.world import (
    GIB,
    Bench,
    host_share,
    mounts,
    mutations,
    restart,
    sent,
    share,
    sized,
)


def test_a_running_container_takes_a_volume_at_once(running: Bench) -> None:
    added = share(running.server)
    assert running.add(added).error is None
    assert running.ct.pending == {}
    assert running.ct.config["mp0"] == (
        f"local-lvm:vm-{running.vmid}-disk-1,acl=1,backup=1,mp={added.assigned['path']},size=1G"
    )
    before = mutations(running.fake, running.vmid)
    assert running.add(added).error is None
    assert mutations(running.fake, running.vmid) == before


def test_a_volume_as_it_is_asked_for(running: Bench) -> None:
    added = share(running.server, storage=VolumeStorage(3 * 512 * 2**20, "local-lvm", backup=False))
    running.add(added)
    [asked] = sent(running.fake, "PUT", "/config")
    assert asked["mp0"] == [f"local-lvm:1.5,mp={added.assigned['path']},backup=0,acl=1"]


def test_a_volume_grows_and_never_shrinks(running: Bench) -> None:
    added = share(running.server)
    running.add(added)
    running.add(sized(added, 5 * GIB))
    assert running.ct.config["mp0"].endswith("size=5G")
    assert running.add(sized(added, 2 * GIB)).error is None
    assert running.ct.config["mp0"].endswith("size=5G")


def test_one_share_without_space_is_its_own_trouble(fake: FakePve, running: Bench) -> None:
    small, large = share(running.server, "small"), share(running.server, "large", VolumeStorage(64 * GIB))
    fake.storages["local-lvm"]["avail"] = 2 * GIB
    running.shares = [large, small]
    changes = [Change(large, Verb.CREATE), Change(small, Verb.CREATE)]
    running.volumes.ensure(running.work(*changes, whole=False))
    assert isinstance(changes[0].error, StorageFull) and changes[1].error is None
    assert list(mounts(running)) == ["mp0"]
    running.settings = replace(running.settings, overcommit=True)
    assert running.add(large).error is None
    assert list(mounts(running)) == ["mp0", "mp1"]


def test_a_storage_without_space_to_grow(fake: FakePve, running: Bench) -> None:
    added = share(running.server)
    running.add(added)
    fake.storages["local-lvm"]["avail"] = 2 * GIB
    assert isinstance(running.add(sized(added, 5 * GIB)).error, StorageFull)
    assert running.ct.config["mp0"].endswith("size=1G")
    assert running.add(sized(added, 3 * GIB)).error is None


def test_a_node_that_finds_itself_full(fake: FakePve, running: Bench) -> None:
    added = share(running.server)
    fake.fail("PUT", "/config", 500, "lvcreate error: insufficient free space in volume group pve", times=1)
    error = running.add(added).error
    assert isinstance(error, StorageFull) and kind_of(error) is Kind.SPACE
    assert mounts(running) == {}
    assert running.add(added).error is None


def test_a_storage_that_does_not_exist_is_named(running: Bench) -> None:
    error = running.add(share(running.server, storage=VolumeStorage(GIB, "nothere"))).error
    assert isinstance(error, PreconditionFailed) and "nothere" in error.message


def test_a_container_that_is_gone_or_not_ours_any_more_gets_none(fake: FakePve, running: Bench) -> None:
    vmid = running.vmid
    kept = running.ct.config.pop("description")
    before = mutations(fake, vmid)
    with pytest.raises(PreconditionFailed, match="is not ours any more"):
        running.add(share(running.server))
    assert mutations(fake, vmid) == before
    running.ct.config["description"] = kept
    fake.cts.remove(running.ct)
    with pytest.raises(PreconditionFailed, match="was removed on the node"):
        running.add(share(running.server))


def test_all_mount_points_are_used(running: Bench) -> None:
    running.ct.config.update({f"mp{n}": f"local-lvm:vm-1-disk-{n},mp=/x/{n},size=1G" for n in range(256)})
    error = running.add(share(running.server)).error
    assert isinstance(error, LimitReached) and "256" in error.message
    del running.ct.config["mp77"]
    added = share(running.server)
    assert running.add(added).error is None
    assert added.assigned["path"] in running.ct.config["mp77"]


# The end of a share


def test_a_deleted_shares_volume_is_destroyed_when_the_container_lets_go(running: Bench) -> None:
    gone, stays = share(running.server, "gone"), share(running.server, "stays")
    running.add(gone)
    running.add(stays)
    volume = mounts(running)["mp0"]
    change = running.drop(gone, delete_data=True)
    assert change.error is None
    assert change.notes == [f"volume {volume} is destroyed when container {running.vmid} has been restarted"]
    assert mounts(running)["mp0"] == volume and running.ct.pending == {"mp0": None}
    assert "volume-doomed" in running.kinds()
    running.ensure()
    assert "volume-doomed" in running.kinds(), "the container holds it still"
    restart(running)
    assert list(mounts(running)) == ["mp1"] and running.ct.status == "running"
    assert "volume-doomed" not in running.kinds()


def test_its_files_go_at_once(running: Bench) -> None:
    gone = share(running.server, "gone")
    running.add(gone)
    running.host.returncode = 1
    assert isinstance(running.drop(gone, delete_data=True).error, PathUnsuitable), "they are there still"
    running.host.returncode = 0
    assert running.drop(gone, delete_data=True).error is None
    assert running.host.commands[-1] == ["find", gone.assigned["path"], "-xdev", "-mindepth", "1", "-delete"]


def test_files_that_shall_be_kept_stay(running: Bench) -> None:
    kept = share(running.server, "kept")
    running.add(kept)
    running.drop(kept)
    assert not running.host.commands


def test_a_held_mount_point_is_given_to_nobody_else(running: Bench) -> None:
    """A key set anew takes back its deletion: the old volume would stay, and the new share would not be there."""
    gone, new = share(running.server, "gone"), share(running.server, "new")
    running.add(gone)
    running.drop(gone, delete_data=True)
    assert running.add(new).error is None
    assert str(new.assigned["path"]) in running.ct.config["mp1"]
    restart(running)
    assert list(mounts(running)) == ["mp1"]


def test_a_stopped_containers_volume_is_destroyed_at_once(bench: Bench) -> None:
    bench.make()
    gone = share(bench.server)
    bench.add(gone)
    assert bench.drop(gone, delete_data=True).error is None
    assert mounts(bench) == {} and bench.kinds() == ["container", "guest"]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_kept_volume_keeps_the_file_server(running: Bench, stopped: bool) -> None:
    kept = share(running.server)
    running.add(kept)
    volume = mounts(running)["mp0"]
    change = running.drop(kept)
    assert change.notes == [f"the files of {kept.name} are kept in volume {volume} of container {running.vmid}"]
    if stopped:
        restart(running)
        assert mounts(running) == {"unused0": volume}
    assert list(kept_volumes(running.claims, running.server.uid)) == [volume]
    running.remove()
    assert running.fake.cts == [] and running.claims.rows == {}


def test_a_share_that_is_taken_back_leaves_nothing(running: Bench) -> None:
    taken = share(running.server)
    running.add(taken)
    running.drop(taken, rollback=True)
    restart(running)
    assert mounts(running) == {} and running.kinds() == ["container", "guest"]


def test_removing_is_repeatable(running: Bench) -> None:
    gone = share(running.server)
    running.add(gone)
    for _ in range(2):
        assert running.drop(gone, delete_data=True).error is None
    restart(running)
    assert running.drop(gone, delete_data=True).error is None
    assert mounts(running) == {} and running.kinds() == ["container", "guest"]


def test_a_share_goes_with_a_container_that_is_gone(running: Bench) -> None:
    gone = share(running.server)
    running.add(gone)
    running.fake.cts.clear()
    running.fake.pools["smbgw"].clear()
    assert running.drop(gone, delete_data=True).error is None
    assert running.kinds() == ["container", "guest"]


def test_a_volume_that_somebody_took_out_is_not_made_anew(running: Bench) -> None:
    """An empty one in its place would look as if the files were lost."""
    taken = share(running.server)
    running.add(taken)
    line = running.ct.config.pop("mp0")
    running.ct.config["unused0"] = line.partition(",")[0]
    error = running.add(taken).error
    assert isinstance(error, PreconditionFailed) and str(taken.assigned["path"]) in error.help
    running.ensure()
    assert len(running.notes) == 1 and "taken out" in running.notes[0]
    assert list(mounts(running)) == ["unused0"]
    running.ct.config["mp0"] = line
    del running.ct.config["unused0"]
    assert running.add(taken).error is None


# Directories of the node


def test_a_directory_of_the_node_by_root(running: Bench, fake_root: Session) -> None:
    running.root = fake_root
    brought = host_share(running.server, "/srv/data")
    assert running.add(brought).error is None
    assert mounts(running) == {"mp0": "/srv/data"}
    assert "volume" not in running.kinds()
    before = mutations(running.fake, running.vmid)
    assert running.add(brought).error is None
    assert mutations(running.fake, running.vmid) == before
    change = running.drop(brought, delete_data=True)
    assert change.notes == ["/srv/data and what is in it stay on the node"]
    restart(running)
    assert mounts(running) == {}


def test_a_directory_of_the_node_takes_root(running: Bench) -> None:
    brought = host_share(running.server, "/srv/data")
    error = running.add(brought).error
    assert isinstance(error, FeatureNotAvailable) and "root@pam" in error.message
    running.root = running.api
    error = running.add(brought).error
    assert isinstance(error, ProxmoxDenied)
    assert mounts(running) == {}


def test_no_volume_without_a_container(bench: Bench) -> None:
    with pytest.raises(HostUnreachable, match="no container yet"):
        bench.add(share(bench.server))
