"""The options of `share create` and `share update` that are fields of the share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from pvesmb._errors import InvalidArgument
from pvesmb.cli._parse import EveryoneLevel, Guest, Level, listed, pairs, rule, size

_RIGHTS, _FILES, _STORAGE = "Who may use it", "New files", "Storage"
Texts = list[str]


def _many(metavar: str, help: str, panel: str | None = None) -> Any:
    return typer.Option(metavar=metavar, help=f"{help}; may be repeated.", rich_help_panel=panel)


@dataclass
class Fields:
    """Fields that both can set."""

    user: Annotated[Texts, _many("NAME[:LEVEL]", "User: deny, read, read-write (default) or admin", _RIGHTS)] = field(
        default_factory=list
    )
    group: Annotated[Texts, _many("NAME[:LEVEL]", "Group, likewise", _RIGHTS)] = field(default_factory=list)
    everyone: Annotated[
        EveryoneLevel | None, typer.Option(help="Every user of the file server.", rich_help_panel=_RIGHTS)
    ] = None
    guest: Annotated[Guest | None, typer.Option(help="Those without a password.", rich_help_panel=_RIGHTS)] = None
    read_only: Annotated[
        bool | None, typer.Option("--read-only/--read-write", help="Nobody writes.", rich_help_panel=_RIGHTS)
    ] = None
    hosts_allow: Annotated[Texts, _many("NET", "Clients that may connect; '' is all", _RIGHTS)] = field(
        default_factory=list
    )
    hosts_deny: Annotated[Texts, _many("NET", "Clients that may not; '' is none", _RIGHTS)] = field(default_factory=list)
    encrypt: Annotated[
        bool | None,
        typer.Option("--encrypt/--no-encrypt", help="Refuse clients that cannot encrypt.", rich_help_panel=_RIGHTS),
    ] = None
    max_connections: Annotated[int | None, typer.Option(min=0, help="0 is no limit.", rich_help_panel=_RIGHTS)] = None
    size: Annotated[
        int | None,
        typer.Option(
            parser=size, metavar="SIZE", help="Volume of this size (10GiB); it can grow.", rich_help_panel=_STORAGE
        ),
    ] = None
    force_user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Owner of all new files.", rich_help_panel=_FILES)
    ] = None
    force_group: Annotated[
        str | None, typer.Option(metavar="NAME", help="Group of all new files.", rich_help_panel=_FILES)
    ] = None
    create_mask: Annotated[str | None, typer.Option(metavar="OCTAL", rich_help_panel=_FILES)] = None
    directory_mask: Annotated[str | None, typer.Option(metavar="OCTAL", rich_help_panel=_FILES)] = None
    comment: Annotated[str | None, typer.Option(help="Text that clients see.")] = None
    hidden: Annotated[
        bool | None, typer.Option("--hidden/--browseable", help="Whether it is listed when a client browses.")
    ] = None
    option: Annotated[Texts, _many("NAME=VALUE", "A further smb.conf option")] = field(default_factory=list)
    label: Annotated[Texts, _many("KEY=VALUE", "A label")] = field(default_factory=list)

    def fill(self, share: Any, *, resize: bool = False) -> list[str]:
        """Sets the fields that were given, and names their paths. Rights, labels and options are added to those there."""
        return [*self._plain(share), *self._collections(share), *self._rights(share), *self._resize(share, resize)]

    def _plain(self, share: Any) -> list[str]:
        from pvesmb.v1.common_pb2 import GuestAccess

        values = {
            "comment": self.comment,
            "read_only": self.read_only,
            "encryption_required": self.encrypt,
            "max_connections": self.max_connections,
            "browseable": None if self.hidden is None else not self.hidden,
            "guest_access": self.guest and GuestAccess.Value(f"GUEST_ACCESS_{self.guest.name}"),
        }
        files = {
            "force_user": self.force_user,
            "force_group": self.force_group,
            "create_mask": self.create_mask,
            "directory_mask": self.directory_mask,
        }
        paths = []
        for message, prefix, fields in ((share, "", values), (share.file_creation, "file_creation.", files)):
            for name, value in fields.items():
                if value is not None:
                    setattr(message, name, value)
                    paths.append(f"{prefix}{name}")
        return paths

    def _collections(self, share: Any) -> list[str]:
        paths = []
        for name, given in (("hosts_allow", self.hosts_allow), ("hosts_deny", self.hosts_deny)):
            if given:
                getattr(share, name)[:] = listed(given)
                paths.append(name)
        for name, texts, option in (("smb_options", self.option, "--option"), ("labels", self.label, "--label")):
            if texts:
                getattr(share, name).update(pairs(texts, option))
                paths.append(name)
        return paths

    def _rights(self, share: Any) -> list[str]:
        wanted = [("user", *rule(text)) for text in self.user] + [("group", *rule(text)) for text in self.group]
        for kind, name, level in wanted:
            drop_rule(share, kind, name)
            share.access.append(access_rule(kind, name, level))
        if self.everyone is not None:
            drop_rule(share, "everyone", True)
            if self.everyone is not EveryoneLevel.NONE:
                share.access.append(access_rule("everyone", "", self.everyone))
        return ["access"] if wanted or self.everyone is not None else []

    def _resize(self, share: Any, resize: bool) -> list[str]:
        if not resize or self.size is None:
            return []
        if share.WhichOneof("storage") != "volume":
            raise InvalidArgument("only a share on a volume of its own has a size")
        share.volume.size_bytes = self.size
        return ["volume.size_bytes"]


@dataclass
class Storage:
    """Where the files are: cannot be changed later."""

    path: Annotated[str | None, typer.Option(help="Directory of the host.", rich_help_panel=_STORAGE)] = None
    owner: Annotated[
        str | None, typer.Option(metavar="USER", help="Owner of the new directory.", rich_help_panel=_STORAGE)
    ] = None
    owner_group: Annotated[str | None, typer.Option(metavar="GROUP", help="Its group.", rich_help_panel=_STORAGE)] = None
    mode: Annotated[str | None, typer.Option(metavar="OCTAL", help="Its mode.", rich_help_panel=_STORAGE)] = None
    storage: Annotated[str | None, typer.Option(help="Proxmox storage of the volume.", rich_help_panel=_STORAGE)] = None
    backup: Annotated[
        bool | None, typer.Option("--backup/--no-backup", help="Of the volume.", rich_help_panel=_STORAGE)
    ] = None
    host_path: Annotated[
        str | None, typer.Option(metavar="PATH", help="Directory of the node, for guests.", rich_help_panel=_STORAGE)
    ] = None

    def fill(self, share: Any, size: int | None) -> None:
        directory = {"path": self.path, "owner": self.owner, "group": self.owner_group, "mode": self.mode}
        volume = {"size_bytes": size, "storage": self.storage, "backup": self.backup}
        host = {"path": self.host_path}
        given = {
            kind: {name: value for name, value in fields.items() if value is not None}
            for kind, fields in (("directory", directory), ("volume", volume), ("host_path", host))
        }
        chosen = [kind for kind, fields in given.items() if fields]
        if len(chosen) > 1:
            raise InvalidArgument(
                "the options name more than one kind of storage",
                help="Give --size (a volume), --path with --owner, --owner-group, --mode (a directory), or --host-path.",
            )
        if chosen == ["volume"] and size is None:
            raise InvalidArgument("a volume needs --size")
        for kind in chosen:
            for name, value in given[kind].items():
                setattr(getattr(share, kind), name, value)


@dataclass
class Changes:
    """What an update adds to the rules, and what it takes away."""

    add_user: Annotated[Texts, _many("NAME[:LEVEL]", "The same as --user", _RIGHTS)] = field(default_factory=list)
    add_group: Annotated[Texts, _many("NAME[:LEVEL]", "The same as --group", _RIGHTS)] = field(default_factory=list)
    remove_user: Annotated[Texts, _many("NAME", "Take a user's rule away", _RIGHTS)] = field(default_factory=list)
    remove_group: Annotated[Texts, _many("NAME", "Take a group's rule away", _RIGHTS)] = field(default_factory=list)
    remove_option: Annotated[Texts, _many("NAME", "Take an smb.conf option away")] = field(default_factory=list)
    remove_label: Annotated[Texts, _many("KEY", "Take a label away")] = field(default_factory=list)

    def apply(self, share: Any) -> list[str]:
        """Takes rules and options away, and names the paths; labels are taken away as with every resource."""
        for kind, names in (("user", self.remove_user), ("group", self.remove_group)):
            for name in names:
                if not drop_rule(share, kind, name):
                    raise InvalidArgument(f"there is no rule for the {kind} {name!r} on it")
        for name in self.remove_option:
            if name not in share.smb_options:
                raise InvalidArgument(f"there is no option {name!r} on it")
            del share.smb_options[name]
        rules = ["access"] if self.remove_user or self.remove_group else []
        return rules + (["smb_options"] if self.remove_option else [])


def drop_rule(share: Any, kind: str, name: str | bool) -> bool:
    """Takes the rules for this user, group or everyone away; whether there were any."""
    kept = [r for r in share.access if r.WhichOneof("principal") != kind or getattr(r, kind) != name]
    found = len(kept) < len(share.access)
    del share.access[:]
    share.access.extend(kept)
    return found


def access_rule(kind: str, name: str, level: Level | EveryoneLevel) -> Any:
    """An access rule; `kind` is user, group or everyone."""
    from pvesmb.v1.share_pb2 import AccessRule

    number = AccessRule.AccessLevel.Value(f"ACCESS_LEVEL_{level.name}")
    whom: dict[str, Any] = {kind: True if kind == "everyone" else name}
    return AccessRule(level=number, **whom)
