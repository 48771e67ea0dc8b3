"""Resource names: `backends/{backend}/fileServers/{file_server}/shares/{share}` and their like."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum

from services.core.errors import InvalidField

_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?\Z")
_ACCOUNT = re.compile(r"[a-z][a-z0-9._-]{0,31}\Z")
#: Characters that SMB forbids in share names (MS-FSCC 2.1.6), and `%`, which smb.conf(5) substitutes.
_SHARE_FORBIDDEN = set('\\/[]:<>+=;,*?"|%')
_SHARE_RESERVED = {"global", "homes", "printers", "print$", "ipc$", "admin$", ".", ".."}
#: Accounts that a Debian system has from the start (base-passwd), and ours. `users`, `staff` and the like are groups there.
_ACCOUNT_RESERVED = {
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy", "www-data", "backup",
    "list", "irc", "_apt", "nobody", "nogroup", "messagebus", "sshd", "adm", "tty", "disk", "sudo", "shadow", "guest",
    "administrator", "everyone",
}  # fmt: skip


class Kind(Enum):
    """The kinds of resources that a backend keeps, with the collection segment of their names."""

    FILE_SERVER = "fileServers"
    SHARE = "shares"
    USER = "users"
    GROUP = "groups"
    TEMPLATE = "templates"


#: What stands directly below a backend. Operations on one of these, and on what is in it, run one after the other.
ROOTS = (Kind.FILE_SERVER, Kind.TEMPLATE)
#: What is in a file server.
CONTENTS = (Kind.SHARE, Kind.USER, Kind.GROUP)


@dataclass(frozen=True)
class Name:
    """The parsed name of a file server, of something in one, or of a template (which has no `file_server`)."""

    backend: str
    file_server: str
    kind: Kind = Kind.FILE_SERVER
    id: str = ""

    def __str__(self) -> str:
        if self.kind in ROOTS:
            return f"backends/{self.backend}/{self.kind.value}/{self.last}"
        return f"{self.server}/{self.kind.value}/{self.id}"

    @property
    def server(self) -> Name:
        """The file server that this is or is in; a template stands for itself."""
        return self if self.kind is Kind.TEMPLATE else Name(self.backend, self.file_server)

    @property
    def last(self) -> str:
        """The last segment: the id within the parent."""
        return self.file_server if self.kind is Kind.FILE_SERVER else self.id

    @property
    def parent(self) -> str:
        """Name of the collection's owner: the backend for file servers and templates, else the file server."""
        return f"backends/{self.backend}" if self.kind in ROOTS else str(self.server)

    @property
    def key(self) -> str:
        """What is unique: SMB names do not differ by case only."""
        return self.last.casefold()

    def child(self, kind: Kind, id: str) -> Name:
        return Name(self.backend, self.file_server, kind, id)


def parse_name(text: str, kind: Kind, field: str = "name") -> Name:
    """Parses the name of a resource of this kind; `InvalidField` at `field` if it is not one."""
    parts = text.split("/") if text.isprintable() else []
    if kind is Kind.TEMPLATE:
        if len(parts) == 4 and parts[0] == "backends" and parts[2] == kind.value and all(parts):
            return template_name(parts[1], parts[3])
        raise InvalidField.of(field, "must have the form backends/{backend}/templates/{template}")
    if len(parts) >= 4 and parts[0] == "backends" and parts[2] == "fileServers" and all(parts):
        if kind is Kind.FILE_SERVER and len(parts) == 4:
            return Name(parts[1], parts[3])
        if len(parts) == 6 and parts[4] == kind.value:
            return Name(parts[1], parts[3], kind, parts[5])
    pattern = "backends/{backend}/fileServers/{file_server}"
    if kind is not Kind.FILE_SERVER:
        pattern += f"/{kind.value}/{{id}}"
    raise InvalidField.of(field, f"must have the form {pattern}")


def template_name(backend: str, id: str) -> Name:
    return Name(backend, "", Kind.TEMPLATE, id)


def parse_backend(text: str, field: str = "parent") -> str:
    """The id in `backends/{backend}`."""
    parts = text.split("/")
    if len(parts) == 2 and parts[0] == "backends" and parts[1]:
        return parts[1]
    raise InvalidField.of(field, "must have the form backends/{backend}")


def check_id(kind: Kind, id: str, field: str) -> None:
    """Refuses an id that a new resource of this kind may not have; rules in the proto of the resource."""
    if kind is Kind.FILE_SERVER:
        if not _ID.match(id):
            raise InvalidField.of(
                field, "must be 1 to 40 lower-case letters, digits and hyphens, begin with a letter, not end with a hyphen"
            )
    elif kind is Kind.SHARE:
        _check_share_id(id, field)
    else:
        if not _ACCOUNT.match(id) or id.endswith("."):
            raise InvalidField.of(field, "must be 1 to 32 of a-z 0-9 . _ -, beginning with a letter")
        if id in _ACCOUNT_RESERVED or id.startswith("pvesmb"):
            raise InvalidField.of(field, f"{id!r} is reserved for the system")


def _check_share_id(id: str, field: str) -> None:
    if not 1 <= len(id) <= 80:
        raise InvalidField.of(field, "must be 1 to 80 characters long")
    # NAME_MAX: the share's directory has the same name.
    if len(id.encode("utf-8", "surrogatepass")) > 255:
        raise InvalidField.of(field, "must be at most 255 bytes long in UTF-8")
    if not unicodedata.is_normalized("NFC", id):
        raise InvalidField.of(field, "must be in Unicode's composed form (NFC): macOS takes both forms for the same name")
    bad = sorted({c for c in id if c in _SHARE_FORBIDDEN or not c.isprintable()})
    if bad:
        raise InvalidField.of(field, f"must not contain {' '.join(ascii(c) for c in bad)}")
    if id != id.strip(" .") or "  " in id:
        raise InvalidField.of(field, "must not begin or end with a space or a dot, nor hold two spaces in a row")
    if id.casefold() in _SHARE_RESERVED or id.casefold().startswith("pvesmb"):
        raise InvalidField.of(field, f"{id!r} is reserved")
