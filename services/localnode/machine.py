"""What the stand-in node needs of the machine and leaves on it: ids for containers, file systems, mounts.

A node's end leaves guests and their mounts; the next start finds them. `close` takes everything away for good.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from logging import getLogger
from pathlib import Path

from services.localnode import btrfs
from services.localnode.config import StorageConfig
from services.localnode.guests.lxc import ID_COUNT, ID_FIRST
from services.localnode.volumes import run

log = getLogger(__name__)


def open_machine(directory: Path, storages: Mapping[str, StorageConfig], *, etc: Path = Path("/etc")) -> None:
    """Before guests are made or found again. Does nothing that is done already."""
    if shutil.which("newuidmap"):
        for name in ("subuid", "subgid"):
            allow_ids(etc / name)
    share(directory / "mounts")
    for storage in storages.values():
        if storage.kind == "btrfs":
            btrfs.open_storage(Path(storage.path), storage.size_bytes)


def close_machine(directory: Path, storages: Mapping[str, StorageConfig]) -> None:
    """Unmounts what `open_machine` and guests mounted; no guest may run any more. Images and state stay."""
    below = [directory, *(Path(storage.path) for storage in storages.values())]
    for target in reversed(mounted()):
        if any(target == root or root in target.parents for root in below):
            run(["umount", str(target)])


def allow_ids(file: Path) -> None:
    """LXC lets newuidmap(1) map ids where it is installed, and that asks these files for root too (subuid(5)); a real node
    has this line."""
    line = f"root:{ID_FIRST}:{ID_COUNT}"
    with file.open("a+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.seek(0)
        before = f.read()
        if line not in before.split():
            f.write(f"{'' if before.endswith(chr(10)) or not before else chr(10)}{line}\n")


def share(directory: Path) -> None:
    """A mount of its own that tells others what happens below it: the processes that keep containers have mount namespaces,
    and would hold on to volumes that are unmounted here."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    if Path(os.path.realpath(directory)) not in mounted():
        run(["mount", "--bind", str(directory), str(directory)])
        run(["mount", "--make-shared", str(directory)])


def mounted() -> list[Path]:
    """Where something is mounted, in the order in which it was (proc(5), mountinfo)."""
    lines = Path("/proc/thread-self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return [Path(line.split(" ")[4].encode().decode("unicode_escape")) for line in lines]
