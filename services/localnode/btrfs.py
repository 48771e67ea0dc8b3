"""Volumes on btrfs: subvolumes with a qgroup limit, snapshots of them, and root disks that are snapshots too.

A template is unpacked once, into a subvolume that is kept below `.templates`; each root disk begins as a snapshot of that,
which takes milliseconds. What is kept is known by the identity of the template's file, so that one that was uploaded anew
is unpacked anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections import defaultdict
from pathlib import Path

from services.localnode.guests.ports import GuestError
from services.localnode.volumes import INNER_ROOT, Unpack, free_bytes, run

_TEMPLATES, _SNAPSHOTS = ".templates", ".snapshots"


class SubvolumeVolumes:
    """One subvolume a volume. Nothing needs to be mounted: it lies where it is."""

    format = "subvol"
    can_snapshot = True

    def __init__(self) -> None:
        self._unpacking: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)

    def name(self, vmid: int, number: int) -> str:
        return f"subvol-{vmid}-disk-{number}.subvol"

    def create(self, file: Path, size: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        run(["btrfs", "subvolume", "create", str(file)])
        os.chown(file, INNER_ROOT, INNER_ROOT)
        _limit(file, size)

    def create_root(self, file: Path, size: int, at: Path, template: Path, unpack: Unpack) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        run(["btrfs", "subvolume", "snapshot", str(self._unpacked(file.parents[2], template, unpack)), str(file)])
        _limit(file, size)

    def size(self, file: Path) -> int:
        """The limit: the fourth column of the only row."""
        limit = run(["btrfs", "qgroup", "show", "-r", "-f", "--raw", str(file)]).splitlines()[-1].split()[3]
        return int(limit) if limit.isdigit() else 0

    def grow(self, file: Path, size: int, at: Path) -> None:
        _limit(file, size)

    def remove(self, file: Path) -> None:
        for snapshot in _snapshots(file):
            _delete(snapshot)
        with contextlib.suppress(OSError):
            _snapshot_directory(file).rmdir()
        if file.exists():
            _delete(file)

    def mount(self, file: Path, at: Path) -> Path:
        return file

    def unmount(self, at: Path) -> None:
        """Nothing was mounted."""

    def snapshot(self, file: Path, name: str) -> None:
        _snapshot_directory(file).mkdir(exist_ok=True)
        run(["btrfs", "subvolume", "snapshot", "-r", str(file), str(_snapshot_directory(file) / name)])

    def rollback(self, file: Path, name: str) -> None:
        """The old content goes only when the new one is there."""
        size, fresh = self.size(file), file.with_suffix(".rollback")
        if fresh.exists():  # of a rollback that was interrupted
            _delete(fresh)
        run(["btrfs", "subvolume", "snapshot", str(_snapshot_directory(file) / name), str(fresh)])
        _delete(file)
        os.rename(fresh, file)
        _limit(file, size)

    def remove_snapshot(self, file: Path, name: str) -> None:
        if (snapshot := _snapshot_directory(file) / name).exists():
            _delete(snapshot)

    def _unpacked(self, storage: Path, template: Path, unpack: Unpack) -> Path:
        """The subvolume with the template's content, unpacked by the first who asks; others wait for that one."""
        found = template.stat()
        identity = f"{found.st_dev} {found.st_ino} {found.st_mtime_ns} {found.st_size}"
        kept = storage / _TEMPLATES / f"{template.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        with self._unpacking[kept]:
            if kept.exists():
                return kept
            kept.parent.mkdir(exist_ok=True, mode=0o711)
            for old in kept.parent.glob(f"{template.name}-????????????*"):
                _delete(old)
            fresh = kept.with_name(f"{kept.name}.new")
            run(["btrfs", "subvolume", "create", str(fresh)])
            os.chown(fresh, INNER_ROOT, INNER_ROOT)
            try:
                unpack(fresh)
            except BaseException:
                _delete(fresh)
                raise
            os.rename(fresh, kept)
        return kept


def is_btrfs(directory: Path) -> bool:
    return run(["stat", "-f", "-c", "%T", str(directory)]).strip() == "btrfs"


def open_storage(directory: Path, size: int) -> None:
    """Makes the directory one that is on btrfs with quotas: by an image beside it, if it is not there already."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    if not is_btrfs(directory):
        image = directory.with_name(f"{directory.name}.btrfs")
        if not image.exists():
            _make_image(image, size)
        run(["mount", "-o", "loop,noatime", str(image), str(directory)])
        directory.chmod(0o711)
    run(["btrfs", "quota", "enable", str(directory)])


def _make_image(image: Path, size: int) -> None:
    """It gets its name when it is complete."""
    if not size:
        raise GuestError(f"{image.with_suffix('')} is not on btrfs: give `size_bytes`, for an image of our own")
    if free_bytes(image.parent) < size:
        raise GuestError(f"no space left on {image.parent} for an image of {size} bytes")
    fresh = image.with_name(f"{image.name}.new")
    with fresh.open("wb") as f:
        os.fchmod(f.fileno(), 0o600)
        f.truncate(size)
    run(["mkfs.btrfs", "-q", "-f", str(fresh)])
    os.rename(fresh, image)


def _limit(file: Path, size: int) -> None:
    run(["btrfs", "qgroup", "limit", str(size), str(file)])


def _delete(subvolume: Path) -> None:
    run(["btrfs", "subvolume", "delete", str(subvolume)])


def _snapshot_directory(file: Path) -> Path:
    return file.with_name(f"{_SNAPSHOTS}-{file.name}")


def _snapshots(file: Path) -> list[Path]:
    directory = _snapshot_directory(file)
    return sorted(directory.iterdir()) if directory.is_dir() else []
