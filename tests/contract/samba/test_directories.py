"""Share directories: made safely, and removed only if they are ours."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import Any

import pytest

from services.core.domain.operation import Verb
from services.core.domain.share import DirectoryStorage, FileCreation, VolumeStorage
from services.core.errors import PvesmbError
from tests.contract.samba.lab import Lab, mounted
from tests.unit.samba import builders

pytestmark = pytest.mark.root


def error_of(lab: Lab, **fields: Any) -> PvesmbError:
    """The error of a share with these fields; a sound share of the same batch must go well."""
    bad, good = lab.change(lab.share("bad", "alice:read", **fields)), lab.change(lab.share("good", "alice:read"))
    lab.apply(bad, good)
    assert good.error is None
    assert bad.error is not None
    assert "BAD_NETWORK_NAME" in lab.smbclient("bad", "alice", "ls"), "it is served nevertheless"
    return bad.error


def mark_of(path: str) -> bytes:
    return os.getxattr(path, "trusted.pvesmb.uid")


def test_owner_group_mode_and_mark(lab: Lab) -> None:
    lab.ensure(builders.group("team", 900201, "alice"))
    row = lab.share(
        "deep", "alice:read-write", path=f"{lab.data}/a/b/deep", storage=DirectoryStorage("", "alice", "team", "0750")
    )
    lab.ensure(row)
    found = os.stat(f"{lab.data}/a/b/deep")
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (900100, 900201, 0o750)
    assert mark_of(f"{lab.data}/a/b/deep") == row.uid.encode()
    assert stat.S_IMODE(os.stat(f"{lab.data}/a").st_mode) == 0o755
    assert lab.drift() == []
    assert [c.error for c in lab.remove(row, delete_data=True)] == [None]
    assert os.listdir(lab.data) == [], "directories above, that we had made, were left"


def test_the_directory_has_the_forced_group(lab: Lab) -> None:
    lab.ensure(builders.group("team", 900201))
    lab.ensure(lab.share("docs", "alice:read", file_creation=FileCreation(force_group="team")))
    assert os.stat(lab.path("docs")).st_gid == 900201


def test_data_is_kept_or_deleted(lab: Lab) -> None:
    kept, gone = lab.share("kept", "alice:read-write"), lab.share("gone", "alice:read-write")
    lab.ensure(kept, gone)
    outside = f"{lab.base}/outside"
    os.mkdir(outside)
    for id in ("kept", "gone"):
        lab.smbclient(id, "alice", "mkdir d", "put /etc/hostname d/f")
        os.symlink(outside, f"{lab.path(id)}/link")
    with open(f"{outside}/precious", "w", encoding="utf-8"):
        pass
    lab.remove(kept)
    assert sorted(os.listdir(lab.path("kept"))) == ["d", "link"]
    assert lab.remove(gone, delete_data=True)[0].error is None
    assert not os.path.lexists(lab.path("gone"))
    assert os.listdir(outside) == ["precious"], "a symbolic link was followed"
    assert lab.remove(gone, delete_data=True)[0].error is None


def test_deep_trees_are_deleted(lab: Lab) -> None:
    row = lab.share("deep", "alice:read")
    lab.ensure(row)
    fd = os.open(lab.path("deep"), os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    assert lab.remove(row, delete_data=True)[0].error is None
    assert os.listdir(lab.data) == []


def test_a_directory_that_existed_is_used_and_never_removed(lab: Lab) -> None:
    os.mkdir(lab.path("old"), 0o777)
    os.chmod(lab.path("old"), 0o777)
    row = lab.share("old", "alice:read-write")
    (change,) = lab.ensure(row)
    assert "existed" in change.notes[0]
    before = os.stat(lab.path("old"))
    assert (before.st_uid, before.st_gid, stat.S_IMODE(before.st_mode)) == (0, 0, 0o777)
    assert "putting file" in lab.smbclient("old", "alice", "put /etc/hostname f")
    assert lab.drift() == []
    (refused,) = lab.remove(row, delete_data=True)
    assert refused.error is not None
    assert refused.error.reason == "PRECONDITION_FAILED"
    assert "blocks available" in lab.smbclient("old", "alice", "ls"), "what may not be removed was cut off"
    assert lab.remove(row)[0].error is None
    assert os.listdir(lab.path("old")) == ["f"]
    lab.ensure(row)
    assert lab.remove(row, rollback=True)[0].error is None
    assert os.listdir(lab.path("old")) == ["f"]


def test_what_was_kept_is_not_the_next_shares(lab: Lab) -> None:
    first = lab.share("docs", "alice:read")
    lab.ensure(first)
    lab.remove(first)
    second = replace(first, uid="00000000-0000-4000-8000-000000000001")
    lab.ensure(second)
    assert lab.remove(second, delete_data=True)[0].error is not None
    assert os.path.isdir(lab.path("docs"))


def test_undoing_a_create_leaves_nothing_but_what_holds_files(lab: Lab) -> None:
    empty, full = lab.share("empty", "alice:read", path=f"{lab.data}/x/empty"), lab.share("full", "alice:read-write")
    lab.ensure(empty, full)
    lab.smbclient("full", "alice", "put /etc/hostname f")
    changes = lab.remove(empty, full, rollback=True)
    assert [change.error for change in changes] == [None, None]
    assert os.listdir(lab.data) == ["full"]
    assert "kept" in changes[1].notes[0]


def test_a_half_made_directory_is_made_anew_or_undone(lab: Lab) -> None:
    """What a kill between making and renaming leaves."""
    row = lab.share("docs", "alice:read")
    os.mkdir(f"{lab.data}/.pvesmb-{row.uid}", 0o700)
    lab.ensure(row)
    assert os.listdir(lab.data) == ["docs"]
    os.rename(lab.path("docs"), f"{lab.data}/.pvesmb-{row.uid}")
    lab.remove(row, rollback=True)
    assert os.listdir(lab.data) == []


def test_symbolic_links_are_refused(lab: Lab) -> None:
    os.mkdir(f"{lab.base}/elsewhere", 0o755)
    os.symlink(f"{lab.base}/elsewhere", f"{lab.data}/link")
    assert error_of(lab, path=f"{lab.data}/link").reason == "PATH_NOT_ALLOWED"
    assert error_of(lab, path=f"{lab.data}/link/below").reason == "PATH_NOT_ALLOWED"
    assert os.listdir(f"{lab.base}/elsewhere") == []


@pytest.mark.parametrize("path", ["/srv/elsewhere", "{base}/data-not/x", "{data}", "{data}/../x", "{data}//x", "{data}/."])
def test_paths_outside_the_roots_are_refused(lab: Lab, path: str) -> None:
    path = path.format(base=lab.base, data=lab.data)
    existed = os.path.lexists(path)
    assert error_of(lab, path=path).reason == "PATH_NOT_ALLOWED"
    assert os.path.lexists(path) == existed


def test_unsuitable_paths(lab: Lab) -> None:
    with open(f"{lab.data}/file", "w", encoding="utf-8"):
        pass
    assert error_of(lab, path=f"{lab.data}/file").reason == "PATH_UNSUITABLE"
    os.mkdir(f"{lab.data}/closed", 0o700)
    error = error_of(lab, path=f"{lab.data}/closed/x")
    assert error.reason == "PATH_UNSUITABLE"
    assert error.metadata["path"] == f"{lab.data}/closed"


def test_an_existing_directory_must_be_as_demanded(lab: Lab) -> None:
    os.mkdir(lab.path("bad"), 0o755)
    for storage in (DirectoryStorage(owner="alice"), DirectoryStorage(mode="0700")):
        assert error_of(lab, storage=storage).reason == "PATH_UNSUITABLE"
    assert os.stat(lab.path("bad")).st_uid == 0
    os.chown(lab.path("bad"), 900100, 0)
    lab.ensure(lab.share("bad", "alice:read", storage=DirectoryStorage(owner="alice")))


def test_a_missing_storage_is_not_replaced_by_an_empty_directory(lab: Lab) -> None:
    row = lab.share("docs", "alice:read", path=f"{lab.data}/mount/docs")
    lab.ensure(row)
    lab.tool("rm", "-r", f"{lab.data}/mount")
    change = lab.change(replace(row, observed_generation=1), Verb.REPAIR)
    lab.apply(change)
    assert change.error is not None
    assert change.error.reason == "PATH_UNSUITABLE"
    assert os.listdir(lab.data) == []


def test_two_shares_cannot_claim_one_path(lab: Lab) -> None:
    lab.ensure(lab.share("one", "alice:read", path=f"{lab.data}/same"))
    assert error_of(lab, path=f"{lab.data}/same").reason == "PRECONDITION_FAILED"


def test_data_with_another_share_within_is_not_deleted(lab: Lab) -> None:
    wide = DirectoryStorage(mode="2775")
    outer, inner = (
        lab.share("outer", "alice:read", storage=wide),
        lab.share("inner", "alice:read", path=f"{lab.data}/outer/inner"),
    )
    lab.ensure(outer)
    lab.ensure(inner)
    (change,) = lab.remove(outer, delete_data=True)
    assert change.error is not None
    assert "inner" in change.error.message
    assert os.path.isdir(f"{lab.data}/outer/inner")


def test_data_with_another_servers_share_within_is_not_deleted(lab: Lab) -> None:
    """Only its mark tells: no other file server's shares are known here."""
    row = lab.share("docs", "alice:read")
    lab.ensure(row)
    theirs = f"{lab.path('docs')}/b/theirs"
    os.makedirs(f"{lab.path('docs')}/a")
    os.makedirs(theirs)
    os.setxattr(theirs, "trusted.pvesmb.uid", b"00000000-0000-4000-8000-000000000001")
    for directory in ("a", "b", "b/theirs"):
        with open(f"{lab.path('docs')}/{directory}/precious", "w", encoding="utf-8"):
            pass
    (change,) = lab.remove(row, delete_data=True)
    assert change.error is not None
    assert (change.error.reason, change.error.metadata) == ("PRECONDITION_FAILED", {"path": theirs})
    assert os.path.exists(f"{theirs}/precious") and os.path.exists(f"{lab.path('docs')}/a/precious")
    assert "blocks available" in lab.smbclient("docs", "alice", "ls"), "what may not be removed was cut off"
    os.removexattr(theirs, "trusted.pvesmb.uid")
    assert lab.remove(row, delete_data=True)[0].error is None
    assert os.listdir(lab.data) == []


def test_mounts_are_not_entered(lab: Lab) -> None:
    row = lab.share("docs", "alice:read")
    lab.ensure(row)
    with mounted(f"{lab.path('docs')}/mnt"):
        for file in (f"{lab.path('docs')}/first", f"{lab.path('docs')}/mnt/precious"):
            with open(file, "w", encoding="utf-8"):
                pass
        (change,) = lab.remove(row, delete_data=True)
        assert change.error is not None
        assert change.error.reason == "PRECONDITION_FAILED"
        assert os.listdir(f"{lab.path('docs')}/mnt") == ["precious"]
        assert sorted(os.listdir(lab.path("docs"))) == ["first", "mnt"], "something was removed before it was refused"
    assert lab.remove(row, delete_data=True)[0].error is None
    assert os.listdir(lab.data) == []


def test_a_volume_is_taken_over_when_it_is_mounted(lab: Lab) -> None:
    place = f"{lab.base}/volumes/docs"
    storage = VolumeStorage(512 * 1024**2)
    assert error_of(lab, path=place, storage=storage).reason == "PATH_UNSUITABLE"
    with mounted(place):
        row = lab.share("docs", "alice:read-write", path=place, storage=storage)
        lab.ensure(row)
        os.chmod(place, 0o700)
        lab.ensure(row)
        found = os.stat(place)
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 900000, 0o2770)
        assert "putting file" in lab.smbclient("docs", "alice", "put /etc/hostname f")
        assert lab.drift() == []
        lab.remove(row, delete_data=True)
        assert os.listdir(place) == ["f"], "a volume's data is its own step's"


def test_a_full_storage_is_told(lab: Lab) -> None:
    with mounted(f"{lab.data}/small", "nr_inodes=1"):
        assert error_of(lab, path=f"{lab.data}/small/docs").reason == "STORAGE_FULL"
