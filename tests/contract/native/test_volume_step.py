"""Volumes with real images, loop devices and XFS."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.core.domain.operation import Verb
from services.core.domain.resource import Resource
from services.core.domain.share import ShareSpec, VolumeStorage
from services.core.errors import PathUnsuitable, PreconditionFailed, StorageFull
from services.core.steps import Claim
from services.native.settings import NativeSettings
from services.native.volume_step import VolumeStep
from services.native.volumes import Volumes
from tests.fakes import MemoryClaims
from tests.unit.native import builders
from tests.unit.native.builders import MIB

pytestmark = pytest.mark.root


@pytest.fixture(scope="session", autouse=True)
def loop_devices() -> None:
    """Only where the kernel has no loop devices at all, nothing here can be tried; never so where tests decide (CI)."""
    if not os.path.exists("/dev/loop-control") or shutil.which("mkfs.xfs") is None:
        needed = "needs loop devices and xfsprogs"
        if os.environ.get("CI"):
            pytest.fail(needed)
        pytest.skip(needed)


class Bench:
    """One file server with one share on a volume."""

    def __init__(self, settings: NativeSettings, volumes: Volumes) -> None:
        self.settings = settings
        self.volumes = volumes
        self.step = VolumeStep(settings, volumes)
        self.claims = MemoryClaims()
        self.server = builders.server()
        root = settings.server_root(self.server.name)
        os.makedirs(root)
        self.path = f"{root}/v"
        self.share = builders.volume(self.server, self.path)

    @property
    def image(self) -> str:
        return self.volumes.image(self.share.uid)

    def ensure(self, share: Resource[ShareSpec] | None = None, verb: Verb = Verb.CREATE) -> None:
        work = builders.work(self.server, self.claims, shares=[share or self.share], verb=verb)
        self.step.ensure(work)
        if work.changes[0].error is not None:
            raise work.changes[0].error

    def remove(self, **options: bool) -> list[str]:
        """The notes of the removal."""
        work = builders.work(self.server, self.claims, shares=[self.share], verb=Verb.DELETE, options=dict(options))
        self.step.remove(work)
        if work.changes[0].error is not None:
            raise work.changes[0].error
        return work.changes[0].notes

    def sized(self, mib: int) -> Resource[ShareSpec]:
        return replace(self.share, spec=ShareSpec(storage=VolumeStorage(mib * MIB)))

    def loops(self) -> list[str]:
        told = subprocess.run(["losetup", "-n", "-O", "NAME,BACK-FILE"], check=True, capture_output=True, text=True)
        return [line for line in told.stdout.splitlines() if self.share.uid in line]


@pytest.fixture
def bench(settings: NativeSettings, volumes: Volumes) -> Iterator[Bench]:
    bench = Bench(settings, volumes)
    yield bench
    volumes.unmount_all()


def free(path: str) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def test_a_volume_is_made_and_mounted_as_promised(bench: Bench) -> None:
    bench.ensure()
    assert os.stat(bench.image).st_size == 512 * MIB
    root = os.stat(bench.path)
    assert (root.st_uid, root.st_gid, root.st_mode & 0o7777) == (0, 500_000, 0o2770)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        row = next(line for line in file if line.split(" ")[4] == bench.path)
    assert {"nosuid", "nodev"} <= set(row.split(" ")[5].split(",")) and " xfs " in row
    claim = bench.claims.get("volume", bench.image)
    assert claim is not None and claim.owner == bench.share.uid
    assert bench.step.drifts([bench.share]) == []


def test_ensuring_again_changes_nothing(bench: Bench) -> None:
    bench.ensure()
    before = (os.stat(bench.path).st_dev, os.stat(bench.image).st_ino, bench.loops())
    bench.ensure()
    assert (os.stat(bench.path).st_dev, os.stat(bench.image).st_ino, bench.loops()) == before
    assert len(bench.loops()) == 1


def test_the_size_binds_root_too(bench: Bench) -> None:
    bench.ensure()
    with pytest.raises(OSError, match="No space"), open(f"{bench.path}/f", "wb") as file:
        for _ in range(600):
            file.write(b"x" * MIB)
            file.flush()


def test_it_grows_while_mounted_and_keeps_its_files(bench: Bench) -> None:
    bench.ensure()
    with open(f"{bench.path}/f", "w", encoding="utf-8") as held:
        held.write("kept")
        held.flush()
        before = free(bench.path)
        assert [d.message for d in bench.step.drifts([bench.sized(700)])] == ["its volume is smaller than wanted"]
        bench.ensure(bench.sized(700), Verb.UPDATE)
    assert free(bench.path) > before + 180 * MIB
    assert bench.volumes.file_system_size(bench.path) == 700 * MIB
    with open(f"{bench.path}/f", encoding="utf-8") as file:
        assert file.read() == "kept"


@pytest.mark.parametrize("done", ["image", "device"])
def test_growing_that_was_killed_half_way_goes_on(bench: Bench, done: str) -> None:
    bench.ensure()
    os.truncate(bench.image, 700 * MIB)
    if done == "device":
        subprocess.run(["losetup", "-c", bench.loops()[0].split()[0]], check=True)
    bench.ensure(bench.sized(700), Verb.UPDATE)
    assert bench.volumes.file_system_size(bench.path) == 700 * MIB


def test_it_does_not_shrink(bench: Bench) -> None:
    bench.share = bench.sized(700)
    bench.ensure()
    with pytest.raises(PreconditionFailed, match="cannot shrink"):
        bench.ensure(bench.sized(600), Verb.UPDATE)
    assert os.stat(bench.image).st_size == 700 * MIB


def test_growing_can_be_put_back_which_leaves_it_larger(bench: Bench) -> None:
    bench.ensure()
    bench.ensure(bench.sized(700), Verb.UPDATE)
    bench.ensure(bench.share, Verb.UPDATE)
    assert os.stat(bench.image).st_size == 700 * MIB
    assert bench.step.drifts([bench.share]) == []


def test_only_the_last_growing_can_be_put_back(bench: Bench) -> None:
    bench.ensure()
    bench.ensure(bench.sized(600), Verb.UPDATE)
    bench.ensure(bench.sized(700), Verb.UPDATE)
    with pytest.raises(PreconditionFailed, match="cannot shrink"):
        bench.ensure(bench.share, Verb.UPDATE)
    bench.ensure(bench.sized(600), Verb.UPDATE)


def test_what_the_storage_cannot_hold_is_refused_with_the_numbers(bench: Bench) -> None:
    huge = bench.sized(1024**2 * 900)
    with pytest.raises(StorageFull) as caught:
        bench.ensure(huge)
    assert caught.value.metadata["needed_bytes"] == str(1024**2 * 900 * MIB)
    assert int(caught.value.metadata["free_bytes"]) > 0
    with pytest.raises(StorageFull):
        bench.step.effects(builders.work(bench.server, bench.claims, shares=[huge]))
    assert not os.path.exists(bench.image)
    bench.remove(rollback=True)
    assert not os.path.lexists(bench.path) and bench.claims.rows == {}


def test_deleting_keeps_the_image_and_says_where(bench: Bench) -> None:
    bench.ensure()
    os.mkdir(f"{bench.path}/docs")
    notes = bench.remove()
    assert len(notes) == 1 and bench.image in notes[0]
    assert os.path.exists(bench.image) and not os.path.lexists(bench.path)
    assert bench.loops() == [] and bench.claims.rows == {}
    assert bench.remove(delete_data=True) == [] and os.path.exists(bench.image), "a kept image is nobody's any more"


def test_a_later_share_of_the_same_name_gets_a_new_volume(bench: Bench) -> None:
    bench.ensure()
    os.mkdir(f"{bench.path}/old")
    bench.remove()
    bench.share = builders.volume(bench.server, bench.path)
    bench.ensure()
    assert os.listdir(bench.path) == []


def test_deleting_with_the_data_leaves_nothing(bench: Bench) -> None:
    bench.ensure()
    os.mkdir(f"{bench.path}/docs")
    assert bench.remove(delete_data=True) == []
    assert os.listdir(bench.settings.image_dir) == [] and not os.path.lexists(bench.path)
    assert bench.loops() == [] and bench.claims.rows == {}
    assert bench.remove(delete_data=True) == []


def test_undoing_a_creation_removes_an_empty_volume(bench: Bench) -> None:
    bench.ensure()
    assert bench.remove(rollback=True) == []
    assert os.listdir(bench.settings.image_dir) == [] and not os.path.lexists(bench.path)


def test_undoing_a_creation_sees_into_a_volume_that_is_not_mounted(bench: Bench) -> None:
    bench.ensure()
    os.mkdir(f"{bench.path}/somebody-was-quick")
    bench.volumes.unmount(bench.share.uid, bench.path)
    notes = bench.remove(rollback=True)
    assert bench.image in notes[0] and os.path.exists(bench.image)
    assert bench.loops() == []


def test_a_mount_that_was_lost_is_seen_and_brought_back(bench: Bench) -> None:
    bench.ensure()
    os.mkdir(f"{bench.path}/docs")
    subprocess.run(["umount", bench.path], check=True)
    assert [d.message for d in bench.step.drifts([bench.share])] == ["its volume is not mounted"]
    with pytest.raises(PermissionError):
        os.mkdir(f"{bench.path}/hidden-later")
    bench.ensure(verb=Verb.REPAIR)
    assert os.listdir(bench.path) == ["docs"]


def test_the_volumes_of_all_shares_are_mounted_with_the_file_server(bench: Bench) -> None:
    bench.ensure()
    subprocess.run(["umount", bench.path], check=True)
    bench.step.ensure(builders.work(bench.server, bench.claims, whole=True, contents=[bench.share]))
    assert os.path.ismount(bench.path)


def test_a_half_made_image_is_made_again(bench: Bench) -> None:
    bench.claims.put(Claim("volume", bench.image, bench.share.uid, {"path": bench.path, "existed": False}))
    os.makedirs(bench.settings.image_dir)
    with open(f"{bench.image}.new-00000000", "wb") as file:
        file.truncate(512 * MIB)
    bench.ensure()
    assert os.listdir(bench.settings.image_dir) == [os.path.basename(bench.image)]
    assert os.path.ismount(bench.path)


def test_an_image_that_is_not_of_this_share_is_not_touched(bench: Bench) -> None:
    os.makedirs(bench.settings.image_dir)
    with open(bench.image, "wb") as file:
        file.truncate(512 * MIB)
        file.write(b"somebody's")
    with pytest.raises(PathUnsuitable, match="does not hold"):
        bench.ensure()
    with open(bench.image, "rb") as file:
        assert file.read(10) == b"somebody's"


def test_a_path_with_files_is_not_hidden_by_a_volume(bench: Bench) -> None:
    os.makedirs(f"{bench.path}/old data")
    with pytest.raises(PathUnsuitable, match="hide"):
        bench.ensure()
    bench.remove(rollback=True)
    assert os.listdir(bench.path) == ["old data"]


def test_an_empty_directory_that_was_there_before_is_used_and_stays(bench: Bench) -> None:
    os.mkdir(bench.path)
    bench.ensure()
    bench.remove(delete_data=True)
    assert os.listdir(bench.path) == []
    os.mkdir(f"{bench.path}/still-writable")


def test_a_symbolic_link_in_the_way_is_refused(bench: Bench, place: str) -> None:
    root = bench.settings.server_root(bench.server.name)
    os.rmdir(root)
    os.mkdir(f"{place}/elsewhere")
    os.symlink(f"{place}/elsewhere", root)
    with pytest.raises(PathUnsuitable):
        bench.ensure()
    assert os.listdir(f"{place}/elsewhere") == []


def test_a_foreign_mount_is_neither_used_nor_unmounted(bench: Bench) -> None:
    os.mkdir(bench.path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", bench.path], check=True)
    with pytest.raises(PathUnsuitable, match="tmpfs is mounted"):
        bench.ensure()
    bench.remove(rollback=True)
    assert os.path.ismount(bench.path)


def test_a_volume_in_use_is_not_torn_away_and_the_user_is_named(bench: Bench) -> None:
    bench.ensure()
    volumes = bench.volumes
    holder = subprocess.Popen(["sleep", "600"], cwd=bench.path)
    try:
        with pytest.raises(PreconditionFailed, match=rf"sleep \(pid {holder.pid}\)"):
            volumes.unmount(bench.share.uid, bench.path, timeout=0.2)
        assert os.path.ismount(bench.path)
    finally:
        holder.kill()
        holder.wait()
    volumes.unmount(bench.share.uid, bench.path)
    assert not os.path.ismount(bench.path)


def test_one_share_without_space_does_not_hinder_the_next(bench: Bench) -> None:
    other = builders.volume(bench.server, bench.path + "2", 1024**2 * 900)
    work = builders.work(bench.server, bench.claims, shares=[other, bench.share])
    bench.step.ensure(work)
    assert isinstance(work.changes[0].error, StorageFull) and work.changes[1].error is None
    assert os.path.ismount(bench.path)


def test_all_volumes_are_unmounted_at_once(bench: Bench) -> None:
    bench.ensure()
    bench.volumes.unmount_all()
    assert not os.path.ismount(bench.path) and bench.loops() == []


def test_an_error_of_the_system_is_one_shares_own(bench: Bench) -> None:
    """The place of the image is a directory, which cannot be read as a file."""
    other = builders.volume(bench.server, bench.path + "2")
    os.makedirs(bench.volumes.image(other.uid))
    work = builders.work(bench.server, bench.claims, shares=[other, bench.share])
    bench.step.ensure(work)
    assert isinstance(work.changes[0].error, PathUnsuitable) and work.changes[1].error is None
    assert os.path.ismount(bench.path)
    bench.step.ensure(builders.work(bench.server, bench.claims, whole=True, contents=[other, bench.share]))


def test_undoing_that_was_undone_half_way_still_looks_into_a_volume_used_since(bench: Bench) -> None:
    bench.ensure()
    bench.claims.put(Claim("volume-empty", bench.image, bench.share.uid))
    os.mkdir(f"{bench.path}/docs")
    assert bench.image in bench.remove(rollback=True)[0]
    assert os.path.exists(bench.image) and bench.claims.rows == {}
