"""The desired state of a share. Field meanings, limits and defaults: `protos/pvesmb/v1/share.proto`."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from services.core.domain import checks
from services.core.errors import InvalidField

#: Smallest volume: below 300 MiB mkfs.xfs refuses (xfsprogs 6.0), and the log needs its part.
MIN_VOLUME_BYTES = 512 * 1024**2
MAX_VOLUME_BYTES = 1024**5
#: Most entries of each list of a share.
_MOST = {"access": 256, "hosts_allow": 256, "hosts_deny": 256, "smb_options": 64}


class AccessLevel(Enum):
    DENY = "deny"
    READ = "read"
    READ_WRITE = "read-write"
    ADMIN = "admin"


class GuestAccess(Enum):
    NONE = "none"
    READ = "read"
    READ_WRITE = "read-write"


class PrincipalKind(Enum):
    USER = "user"
    GROUP = "group"
    EVERYONE = "everyone"


@dataclass(frozen=True)
class AccessRule:
    """What one user, one group or everyone may do. `id` is empty for everyone."""

    kind: PrincipalKind
    id: str
    level: AccessLevel

    def __post_init__(self) -> None:
        if (self.kind is PrincipalKind.EVERYONE) != (self.id == ""):
            raise InvalidField.of("principal", "must be the id of a user or a group, or everyone")


def _plain_path(path: str) -> None:
    if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//"):
        raise InvalidField.of("path", "must be absolute and without `.`, `..`, doubled or trailing slashes")
    checks.one_line("path", path, 1024, forbidden="%")
    if any(len(part.encode()) > 255 for part in path.split("/")):
        raise InvalidField.of("path", "no part of it may have more than 255 bytes")


@dataclass(frozen=True)
class DirectoryStorage:
    """A directory of the host; an empty path means the default place."""

    path: str = ""
    owner: str = ""
    group: str = ""
    mode: str = "2770"

    def __post_init__(self) -> None:
        checks.octal_mode("mode", self.mode)
        if self.path:
            _plain_path(self.path)


@dataclass(frozen=True)
class VolumeStorage:
    """A volume of the share's own; its size is the quota."""

    size_bytes: int
    storage: str = ""
    backup: bool = True

    def __post_init__(self) -> None:
        checks.within("size_bytes", self.size_bytes, MIN_VOLUME_BYTES, MAX_VOLUME_BYTES)
        checks.proxmox_name("storage", self.storage)


@dataclass(frozen=True)
class HostPathStorage:
    """A directory of the node, brought into the guest."""

    path: str

    def __post_init__(self) -> None:
        _plain_path(self.path)
        if "," in self.path or not self.path.isascii():
            raise InvalidField.of("path", "must be ASCII and without commas: Proxmox VE could not write it down")


@dataclass(frozen=True)
class FileCreation:
    """Owners and modes of what clients make."""

    force_user: str = ""
    force_group: str = ""
    create_mask: str = "0770"
    directory_mask: str = "2770"

    def __post_init__(self) -> None:
        checks.octal_mode("create_mask", self.create_mask)
        checks.octal_mode("directory_mask", self.directory_mask)


Storage = DirectoryStorage | VolumeStorage | HostPathStorage


@dataclass(frozen=True)
class ShareSpec:
    """What the caller wants of a share."""

    comment: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    storage: Storage = DirectoryStorage()
    access: tuple[AccessRule, ...] = ()
    guest_access: GuestAccess = GuestAccess.NONE
    browseable: bool = True
    read_only: bool = False
    hosts_allow: tuple[str, ...] = ()
    hosts_deny: tuple[str, ...] = ()
    encryption_required: bool = False
    max_connections: int = 0
    file_creation: FileCreation = FileCreation()
    smb_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.one_line("comment", self.comment, 256, forbidden="%")
        checks.labels("labels", self.labels)
        for name, most in _MOST.items():
            if len(getattr(self, name)) > most:
                raise InvalidField.of(name, f"must be at most {most} entries")
        checks.networks("hosts_allow", self.hosts_allow)
        checks.networks("hosts_deny", self.hosts_deny)
        checks.within("max_connections", self.max_connections, 0, 1_000_000)
        seen = set()
        for i, rule in enumerate(self.access):
            if (rule.kind, rule.id) in seen:
                raise InvalidField.of(f"access[{i}]", f"{rule.id or 'everyone'} has a rule already")
            seen.add((rule.kind, rule.id))
        if self.encryption_required and self.guest_access is not GuestAccess.NONE:
            raise InvalidField.of("guest_access", "guests cannot encrypt, but encryption is required")

    def principals(self) -> dict[str, tuple[PrincipalKind, str]]:
        """Every user and group that the share names, by the path of the field that does."""
        named = {
            f"access[{i}].{rule.kind.value}": (rule.kind, rule.id)
            for i, rule in enumerate(self.access)
            if rule.kind is not PrincipalKind.EVERYONE
        }
        if isinstance(self.storage, DirectoryStorage):
            named["directory.owner"] = (PrincipalKind.USER, self.storage.owner)
            named["directory.group"] = (PrincipalKind.GROUP, self.storage.group)
        named["file_creation.force_user"] = (PrincipalKind.USER, self.file_creation.force_user)
        named["file_creation.force_group"] = (PrincipalKind.GROUP, self.file_creation.force_group)
        return {path: principal for path, principal in named.items() if principal[1]}
