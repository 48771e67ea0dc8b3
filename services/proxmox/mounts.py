"""Volumes as a container's configuration writes them: `local:8,mp=/srv/share` asks for one, and reads back as
`local:102/vm-102-disk-1.raw,mp=/srv/share,size=8G`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_MIB, _GIB = 2**20, 2**30
_UNITS = {"": 1, "K": 2**10, "M": _MIB, "G": _GIB, "T": 2**40}


def mib(size_bytes: int) -> int:
    """Whole MiB, rounded up: what Proxmox VE reckons in."""
    return -(-size_bytes // _MIB)


def parse_size(text: str) -> int:
    """Bytes of `8G`, `512M`; 0 for what is no size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0


@dataclass(frozen=True)
class NewVolume:
    """A volume to be made on a storage; `mount` is its place inside, empty for the root file system. It comes along in
    the guest's backups, as Proxmox does with the root file system but not with others by itself."""

    storage: str
    size_bytes: int
    mount: str = ""
    backup: bool = True
    acl: bool = True

    def text(self) -> str:
        """The size in GiB, with a fraction where it must be: exact, as MiB are binary fractions of ten digits."""
        size = f"{mib(self.size_bytes) / 1024:.10f}".rstrip("0").rstrip(".")
        if not self.mount:
            return f"{self.storage}:{size}"
        return f"{self.storage}:{size},mp={self.mount},backup={int(self.backup)},acl={int(self.acl)}"


@dataclass(frozen=True)
class HostPath:
    """A directory of the node to be mounted inside."""

    path: str
    mount: str

    def text(self) -> str:
        return f"{self.path},mp={self.mount}"


@dataclass(frozen=True)
class Mount:
    """`rootfs`, `mpN` or `unusedN` of a configuration. `volume` is the id of a volume, or a path for a bind mount."""

    volume: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Mount:
        first, *rest = text.split(",")
        options = dict(part.partition("=")[::2] for part in rest)
        return cls(options.pop("volume", "") or first.removeprefix("volume="), options)

    @property
    def storage(self) -> str:
        """Of a volume."""
        return self.volume.partition(":")[0]

    @property
    def mount(self) -> str:
        return self.options.get("mp", "")

    @property
    def size_bytes(self) -> int:
        """0 if the configuration does not say."""
        return parse_size(self.options.get("size", ""))
