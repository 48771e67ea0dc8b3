"""What the stand-in node needs of the machine and leaves on it: ids for containers, file systems, mounts.

A node's end leaves guests and their mounts; the next start finds them. `close` takes everything away for good.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from services.kit.config import ConfigError
from services.localnode import btrfs
from services.localnode.config import StorageConfig
from services.localnode.guests.lxc import ID_COUNT, ID_FIRST
from services.localnode.volumes import run

END_SECONDS = 30.0
#: How LXC's processes call themselves that watch one container each; then its directory and name.
MONITOR = b"[lxc monitor]"


def open_machine(directory: Path, storages: Mapping[str, StorageConfig], *, etc: Path = Path("/etc")) -> None:
    """Before guests are made or found again. Does nothing that is done already."""
    need_passage(directory)
    if shutil.which("newuidmap"):
        for name in ("subuid", "subgid"):
            allow_ids(etc / name)
    share(directory / "mounts")
    for storage in storages.values():
        if storage.kind == "btrfs":
            place = Path(storage.path)
            place.mkdir(parents=True, exist_ok=True, mode=0o711)
            if not btrfs.is_btrfs(place):
                share(place)
            btrfs.open_storage(place, storage.size_bytes)


def close_machine(directory: Path, storages: Mapping[str, StorageConfig]) -> None:
    """Ends every guest and unmounts everything. Images and state stay."""
    end_guests(directory)
    below = [directory, *(Path(storage.path) for storage in storages.values())]
    for target in reversed(mounted()):
        if any(target == root or root in target.parents for root in below):
            run(["umount", str(target)])


def end_guests(directory: Path) -> None:
    """Kills the first process of each container that is kept below this directory, and waits for the one that watched
    it, which tidies up. They are found by their names, so that it works when their network namespace has lost its own."""
    watching = list(_monitors(directory))
    for monitor in watching:
        for child in _children(monitor):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    for monitor in watching:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(monitor)
            try:
                select.select([handle], [], [], END_SECONDS)
            finally:
                os.close(handle)


def _monitors(directory: Path) -> Iterator[int]:
    title = MONITOR + f" {directory}/".encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(title):
                yield int(entry.name)


def _children(pid: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


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


def need_passage(directory: Path) -> None:
    """Root inside a container is nobody here, and has to pass through every directory above its files."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    for above in (directory, *directory.resolve().parents):
        if not stat.S_IMODE(above.stat().st_mode) & stat.S_IXOTH:
            raise ConfigError(
                f"state_dir: {above} lets others not pass (chmod o+x), so no container could start from there"
            )


def share(directory: Path) -> None:
    """A mount of its own that tells others what happens below it: the processes that keep containers, of this node and of
    others, have mount namespaces, and would hold on to what is unmounted here."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    if Path(os.path.realpath(directory)) not in mounted():
        run(["mount", "--bind", str(directory), str(directory)])
        run(["mount", "--make-shared", str(directory)])


def mounted() -> list[Path]:
    """Where something is mounted, in the order in which it was (proc(5), mountinfo)."""
    lines = Path("/proc/thread-self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return [Path(line.split(" ")[4].encode().decode("unicode_escape")) for line in lines]
