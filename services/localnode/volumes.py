"""How a storage keeps volumes: on a directory, as sized XFS images in sparse files.

A volume's size is its quota. XFS, because it grows while it is mounted on every kernel; as on a real node a file system
that is too small for its mkfs (300 MiB here) is refused by that. Files of an image that belong to 100000 on the node belong
to root inside: ids are shifted by the container, and a volume is made for that.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from services.localnode.guests.ports import GuestError

#: What root inside an unprivileged container is on the node.
INNER_ROOT = 100_000

Unpack = Callable[[Path], None]


class Volumes(Protocol):
    """How volumes are kept. `file` is where one lies, `at` where it is mounted if that is needed to reach its content."""

    format: str
    can_snapshot: bool

    def name(self, vmid: int, number: int) -> str:
        """The name of a guest's volume of this number."""
        ...

    def create(self, file: Path, size: int) -> None: ...

    def create_root(self, file: Path, size: int, at: Path, template: Path, unpack: Unpack) -> None:
        """A root disk with the content of a template, which `unpack` puts into a directory."""
        ...

    def size(self, file: Path) -> int: ...

    def grow(self, file: Path, size: int, at: Path) -> None:
        """Also while it is mounted."""
        ...

    def remove(self, file: Path) -> None:
        """With its snapshots; one that is gone is no error."""
        ...

    def mount(self, file: Path, at: Path) -> Path:
        """Makes the content available, and says where."""
        ...

    def unmount(self, at: Path) -> None:
        """The opposite; a volume that is not mounted is no error."""
        ...

    def snapshot(self, file: Path, name: str) -> None: ...

    def rollback(self, file: Path, name: str) -> None: ...

    def remove_snapshot(self, file: Path, name: str) -> None: ...


class ImageVolumes:
    """XFS in a sparse file."""

    format = "raw"
    can_snapshot = False

    def name(self, vmid: int, number: int) -> str:
        return f"vm-{vmid}-disk-{number}.raw"

    def create(self, file: Path, size: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as f:
            os.fchmod(f.fileno(), 0o600)
            f.truncate(size)
        try:
            # The prototype (mkfs.xfs(8), -p; it wants a regular file) makes the owner of the root part of the step.
            with tempfile.NamedTemporaryFile("w", suffix=".proto") as prototype:
                prototype.write(f"/\n0 0\nd--755 {INNER_ROOT} {INNER_ROOT}\n$\n")
                prototype.flush()
                run(["mkfs.xfs", "-q", "-p", prototype.name, str(file)])
        except BaseException:
            file.unlink()
            raise

    def create_root(self, file: Path, size: int, at: Path, template: Path, unpack: Unpack) -> None:
        self.create(file, size)
        unpack(self.mount(file, at))

    def size(self, file: Path) -> int:
        return file.stat().st_size

    def grow(self, file: Path, size: int, at: Path) -> None:
        """The file system grows where it is mounted; after an error the volume is as before."""
        mounted = os.path.ismount(at)
        self.mount(file, at)
        before, loop = file.stat().st_size, _loop_of(file)
        os.truncate(file, size)
        try:
            run(["losetup", "--set-capacity", loop])
            run(["xfs_growfs", str(at)])
        except GuestError:
            os.truncate(file, before)
            run(["losetup", "--set-capacity", loop])
            raise
        finally:
            if not mounted:
                self.unmount(at)

    def remove(self, file: Path) -> None:
        file.unlink(missing_ok=True)

    def mount(self, file: Path, at: Path) -> Path:
        at.mkdir(parents=True, exist_ok=True)
        if not os.path.ismount(at):
            run(["mount", "-o", "loop,noatime", str(file), str(at)])
        return at

    def unmount(self, at: Path) -> None:
        if os.path.ismount(at):
            run(["umount", str(at)])
        with contextlib.suppress(OSError):
            at.rmdir()
            at.parent.rmdir()

    def snapshot(self, file: Path, name: str) -> None:
        raise GuestError("snapshot feature is not available")

    def rollback(self, file: Path, name: str) -> None:
        raise GuestError("snapshot feature is not available")

    def remove_snapshot(self, file: Path, name: str) -> None:
        raise GuestError("snapshot feature is not available")


def run(argv: Sequence[str]) -> str:
    """Runs a program of the storage; GuestError says what it said."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise GuestError(f"command '{' '.join(argv)}' failed: {said[0] if said else f'exit code {done.returncode}'}")
    return done.stdout


def free_bytes(directory: Path) -> int:
    return shutil.disk_usage(directory).free


def _loop_of(file: Path) -> str:
    """The loop device that a file is behind (losetup(8), --associated)."""
    return run(["losetup", "--noheadings", "--output", "NAME", "--associated", str(file)]).split()[0]
