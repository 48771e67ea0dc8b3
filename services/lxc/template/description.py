"""What a template consists of, as data. Two descriptions that are equal in all that they hold have one version."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidField

_HERE = Path(__file__).parent
#: Debian's releases by number: the name of the suite, and the day of the first release, which no file of a template is
#: younger than (SOURCE_DATE_EPOCH), so that the same packages give the same archive.
RELEASES: Mapping[int, tuple[str, int]] = {12: ("bookworm", 1_686_355_200), 13: ("trixie", 1_754_697_600)}
DEFAULT_RELEASE = 12

_PACKAGES = (
    "acl",
    "attr",
    "ifupdown",
    "iproute2",
    "isc-dhcp-client",
    "libnss-extrausers",
    "openssh-server",
    "python3-samba",
    "samba",
    "samba-vfs-modules",
    "systemd",
    "systemd-sysv",
)
#: Never unpacked, neither now nor by a later upgrade in the container. Licences stay.
_LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
    "/usr/share/bug/*",
    "/usr/share/bash-completion/*",
    "/usr/share/zsh/*",
)
_KEPT = ("/usr/share/doc/*/copyright",)
_NAME = re.compile(r"pvesmb-debian-(\d+)-([0-9a-f]{12})\.tar\.zst")


@dataclass(frozen=True)
class Description:
    """One template. `files` are laid over the installed packages, by path inside the container; `customize` is the script
    that ends the build."""

    release: int
    packages: tuple[str, ...]
    left_out: tuple[str, ...]
    kept: tuple[str, ...]
    files: Mapping[str, str]
    customize: str

    @property
    def suite(self) -> str:
        return RELEASES[self.release][0]

    @property
    def epoch(self) -> int:
        return RELEASES[self.release][1]

    @property
    def version(self) -> str:
        """12 hex digits over everything that is described. Packages count by name: their updates do not change it."""
        parts = [
            self.suite,
            self.epoch,
            self.packages,
            self.left_out,
            self.kept,
            sorted(self.files.items()),
            self.customize,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    @property
    def file_name(self) -> str:
        return f"pvesmb-debian-{self.release}-{self.version}.tar.zst"


def describe(release: int = DEFAULT_RELEASE) -> Description:
    """The template of this program for a release of Debian."""
    if release not in RELEASES:
        known = ", ".join(map(str, RELEASES))
        raise InvalidField.of("debian_release", f"there is no template for Debian {release}; choose one of {known}")
    root = _HERE / "root"
    files = {f"/{path.relative_to(root)}": path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}
    return Description(release, _PACKAGES, _LEFT_OUT, _KEPT, files, (_HERE / "customize").read_text())


def parse_file_name(name: str) -> tuple[int, str] | None:
    """Release and version of a file that carries a name of ours; None for any other."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), found[2]) if found else None
