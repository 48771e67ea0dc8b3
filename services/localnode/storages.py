"""Storages on this machine: a directory with templates, images and volumes. How volumes are kept depends on its kind."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.localnode.api.refusal import bad_parameters, failed
from services.localnode.guests.ports import GuestError
from services.localnode.volumes import Volumes, free_bytes

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


@dataclass(frozen=True)
class Storage:
    """A directory with its contents."""

    name: str
    path: Path
    content: Sequence[str]
    volumes: Volumes
    kind: str = "dir"

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
        if kind.isdigit() and re.fullmatch(rf"(?:vm-{kind}-disk-\d+\.raw|subvol-{kind}-disk-\d+\.subvol)", base):
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
                    found += self._entry(f"{self.name}:{content}/{file.name}", content, file)
        for file in self.guest_volumes("*"):
            found += self._entry(f"{self.name}:{file.parent.name}/{file.name}", "rootdir", file, int(file.parent.name))
        return found

    def guest_volumes(self, vmid: int | str) -> list[Path]:
        """The files of a guest's volumes, whether its configuration knows them or not."""
        return sorted((self.path / VOLUMES).glob(f"{vmid}/[sv]*-disk-*"))

    def free_volume(self, vmid: int) -> str:
        """A volume id for a guest that nothing lies behind yet."""
        directory = self.path / VOLUMES / str(vmid)
        number = 0
        while (directory / self.volumes.name(vmid, number)).exists():
            number += 1
        return f"{self.name}:{vmid}/{self.volumes.name(vmid, number)}"

    def need_space(self, more: int) -> None:
        """Volumes are sparse, so nothing is reserved; but a promise that cannot be kept even today is refused."""
        self.path.mkdir(parents=True, exist_ok=True)
        free = free_bytes(self.path)
        if more > free:
            raise GuestError(f"storage '{self.name}': {more} bytes wanted, {free} free: No space left on device")

    def usage(self) -> tuple[int, int, int]:
        """Total, used and available bytes."""
        self.path.mkdir(parents=True, exist_ok=True)
        usage = shutil.disk_usage(self.path)
        return usage.total, usage.used, usage.free

    def _entry(self, volid: str, content: str, file: Path, vmid: int = 0) -> list[Entry]:
        """One, or none if it goes while it is looked at."""
        try:
            stat = file.stat()
            size = self.volumes.size(file) if content == "rootdir" else stat.st_size
        except (OSError, GuestError):
            return []
        suffix = re.search(r"(?:\.tar)?(\.[a-z0-9]+)$", file.name)
        shown = {"vztmpl": f"t{suffix[1][1:]}" if suffix else "tar", "rootdir": self.volumes.format}.get(content)
        return [Entry(volid, content, shown or (suffix[1][1:] if suffix else "raw"), size, int(stat.st_ctime), vmid)]
