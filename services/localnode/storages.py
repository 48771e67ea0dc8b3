"""Storages on this machine: a directory with templates, images and volumes.

A volume is a sized ext4 image in a sparse file, mounted while it is used: its size is its quota, as with a node's
directory storage. On btrfs the same storage keeps volumes as subvolumes with a qgroup limit, which start at once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.localnode.api.refusal import bad_parameters, failed
from services.localnode.guests.ports import GuestError

#: Where each content lies below a directory storage (PVE::Storage::Plugin), and the names that may be uploaded.
CONTENT: Mapping[str, tuple[str, str]] = {
    "iso": ("template/iso", r".+\.(?:iso|img)"),
    "vztmpl": ("template/cache", r".+\.tar(?:\.(?:gz|xz|zst|bz2))?"),
    "import": ("import", r".+\.(?:qcow2|raw|vmdk|ova)"),
}
VOLUMES = "images"


@dataclass(frozen=True)
class Entry:
    """One entry of a storage's content."""

    volid: str
    content: str
    format: str
    size: int
    ctime: int
    vmid: int = 0


class Volumes(Protocol):
    """How volumes are kept. Paths are those of the storage; a name is `vm-102-disk-0` without an extension."""

    suffix: str
    format: str

    def create(self, file: Path, size: int) -> None: ...

    def grow(self, file: Path, size: int) -> None: ...

    def remove(self, file: Path) -> None: ...

    def mount(self, file: Path, at: Path) -> Path:
        """Makes the content available, and says where."""
        ...

    def unmount(self, at: Path) -> None:
        """The opposite; a volume that is not mounted is no error."""
        ...


class LoopVolumes:
    """ext4 in a sparse file."""

    suffix = ".raw"
    format = "raw"

    def create(self, file: Path, size: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as f:
            f.truncate(size)
        run(["mkfs.ext4", "-q", "-F", "-E", "root_owner=100000:100000", str(file)])

    def grow(self, file: Path, size: int) -> None:
        """Also while it is mounted, where the kernel lets ext4 grow (it needs CAP_SYS_RESOURCE); else all is as before."""
        before, loop = file.stat().st_size, _loop_of(file)
        os.truncate(file, size)
        try:
            if loop:
                run(["losetup", "--set-capacity", loop])
            else:
                run(["e2fsck", "-f", "-p", str(file)], good=(0, 1))
            run(["resize2fs", loop or str(file)])
        except GuestError:
            os.truncate(file, before)
            if loop:
                run(["losetup", "--set-capacity", loop])
            raise

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


@dataclass(frozen=True)
class Storage:
    """A directory with its contents."""

    name: str
    path: Path
    content: Sequence[str]
    volumes: Volumes

    def need(self, content: str) -> None:
        """Refuses an upload for which this storage is not meant."""
        if content not in self.content:
            raise failed(f"storage '{self.name}' does not support '{content}' content")

    def need_rootdir(self) -> None:
        if "rootdir" not in self.content:
            raise bad_parameters({"storage": f"storage '{self.name}' does not support container directories"})

    def file(self, volid: str) -> Path:
        """The file behind a volume id of this storage, wherever it is or would be."""
        _, _, name = volid.partition(":")
        kind, slash, base = name.partition("/")
        if not slash or not base or "/" in base or base in {".", ".."}:
            raise failed(f"unable to parse directory volume name '{name}'")
        if kind in CONTENT:
            return self.path / CONTENT[kind][0] / base
        if kind.isdigit() and re.fullmatch(rf"vm-{kind}-disk-\d+(?:\.raw|\.subvol)?", base):
            return self.path / VOLUMES / kind / base
        raise failed(f"unable to parse directory volume name '{name}'")

    def upload(self, content: str, filename: str, source: Path) -> Path:
        """Moves an uploaded file into place, over one of the same name, as a node does."""
        target = self.path / CONTENT[content][0] / filename
        target.parent.mkdir(parents=True, exist_ok=True)
        os.chmod(source, 0o644)
        shutil.move(source, target)
        return target

    def entries(self) -> list[Entry]:
        """Everything that lies on it."""
        found = []
        for content, (below, pattern) in CONTENT.items():
            for file in sorted((self.path / below).glob("*")):
                if re.fullmatch(pattern, file.name) and file.is_file():
                    found.append(self._entry(f"{self.name}:{content}/{file.name}", content, file))
        for file in sorted((self.path / VOLUMES).glob("*/vm-*-disk-*")):
            volid = f"{self.name}:{file.parent.name}/{file.name}"
            found.append(self._entry(volid, "rootdir", file, int(file.parent.name)))
        return found

    def free_volume(self, vmid: int) -> str:
        """A volume id for a guest that nothing lies behind yet."""
        directory = self.path / VOLUMES / str(vmid)
        number = 0
        while (directory / f"vm-{vmid}-disk-{number}{self.volumes.suffix}").exists():
            number += 1
        return f"{self.name}:{vmid}/vm-{vmid}-disk-{number}{self.volumes.suffix}"

    def usage(self) -> tuple[int, int, int]:
        """Total, used and available bytes."""
        self.path.mkdir(parents=True, exist_ok=True)
        usage = shutil.disk_usage(self.path)
        return usage.total, usage.used, usage.free

    def _entry(self, volid: str, content: str, file: Path, vmid: int = 0) -> Entry:
        stat = file.stat()
        suffix = re.search(r"(?:\.tar)?(\.[a-z0-9]+)$", file.name)
        shown = {"vztmpl": f"t{suffix[1][1:]}" if suffix else "tar", "rootdir": self.volumes.format}.get(content)
        return Entry(volid, content, shown or (suffix[1][1:] if suffix else "raw"), stat.st_size, int(stat.st_ctime), vmid)


def run(argv: Sequence[str], *, good: Sequence[int] = (0,)) -> str:
    """Runs a program of the storage; GuestError says what it said."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode not in good:
        last = (done.stderr or done.stdout).strip().splitlines()
        raise GuestError(f"command '{argv[0]}' failed: {last[-1] if last else f'exit code {done.returncode}'}")
    return done.stdout


def _loop_of(file: Path) -> str:
    """The loop device that a file is behind, or nothing (losetup(8), --associated)."""
    out = run(["losetup", "--noheadings", "--output", "NAME", "--associated", str(file)])
    return out.split()[0] if out.split() else ""
