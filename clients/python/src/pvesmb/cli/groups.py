"""`pvesmb group`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from pvesmb.cli import _complete
from pvesmb.cli._command import Changing, Etag, Session, command
from pvesmb.cli._confirm import Sure
from pvesmb.cli._parse import listed, pairs
from pvesmb.cli.shares import Server, Where

app = typer.Typer(help="Groups of users of file servers.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(metavar="GROUP", autocompletion=_complete.groups, help="GROUP, SERVER/GROUP or BACKEND/SERVER/GROUP."),
]


@dataclass
class Fields:
    """Fields of a group."""

    description: Annotated[str | None, typer.Option()] = None
    member: Annotated[list[str], typer.Option(metavar="USER", help="A user to add; may be repeated.")] = field(
        default_factory=list
    )
    label: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = field(default_factory=list)

    def fill(self, group: Any) -> list[str]:
        """Sets the fields that were given, and names their paths. Members are added to those there."""
        paths = []
        if self.description is not None:
            group.description = self.description
            paths.append("description")
        if self.member:
            group.members.extend(one for one in dict.fromkeys(listed(self.member)) if one not in group.members)
            paths.append("members")
        if self.label:
            group.labels.update(pairs(self.label, "--label"))
            paths.append("labels")
        return paths


@app.command("create")
@command
def create(session: Changing, name: Name, fields: Fields, server: Server = "") -> None:
    """Make a group."""
    from pvesmb.cli._follow import change
    from pvesmb.v1.user_pb2 import Group

    parent, id = session.names.child("groups", name, server)
    group = Group()
    fields.fill(group)
    change(session, lambda **how: session.client.groups.create(parent, id, group, **how), "done")


@app.command("list")
@command
def listing(session: Session, where: Where = "", server: Server = "") -> None:
    """List the groups of one file server, or of all."""
    from pvesmb.cli import _lists
    from pvesmb.cli._names import short
    from pvesmb.cli._render import word

    found, unreachable = _lists.contents(session, where or server, session.client.groups.list)
    rows = [(short(g.name), word(g, "state"), ", ".join(g.members), g.description) for _, g in found]
    columns = ("NAME", "STATE", "MEMBERS", "DESCRIPTION")
    _lists.show(session, "groups", [g for _, g in found], unreachable, columns, rows)


@app.command("get")
@command
def get(session: Session, name: Name, server: Server = "") -> None:
    """Show one group."""
    from pvesmb.cli._output import as_dict, details, document
    from pvesmb.cli._render import rows

    found = session.client.groups.get(session.names.full("groups", name, server))
    document(as_dict(found)) if session.as_json else details(rows(found))


@app.command("update")
@command
def update(
    session: Changing,
    name: Name,
    fields: Fields,
    server: Server = "",
    remove_member: Annotated[list[str] | None, typer.Option(metavar="USER", help="May be repeated.")] = None,
    remove_label: Annotated[list[str] | None, typer.Option(metavar="KEY", help="May be repeated.")] = None,
    etag: Etag = "",
) -> None:
    """Change a group: only what the options name."""
    from pvesmb._errors import InvalidArgument
    from pvesmb.cli._edit import update

    def fill(group: Any) -> list[str]:
        for one in remove_member or []:
            if one not in group.members:
                raise InvalidArgument(f"{one!r} is no member of it")
            group.members.remove(one)
        return fields.fill(group) + (["members"] if remove_member else [])

    full = session.names.full("groups", name, server)
    update(session, session.client.groups, full, fill, etag, labels=remove_label or [])


@app.command("delete")
@command
def delete(session: Changing, name: Name, sure: Sure, server: Server = "", etag: Etag = "") -> None:
    """Remove a group."""
    from pvesmb.cli._follow import change
    from pvesmb.cli._names import short

    full = session.names.full("groups", name, server)
    if not session.dry_run:
        sure.confirm(f"delete the group {short(full)}")
    groups = session.client.groups
    change(session, lambda **how: groups.delete(full, etag=etag, **how), f"{short(full)} has been deleted")
