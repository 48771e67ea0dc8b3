"""`pvesmb user`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from pvesmb.cli import _complete
from pvesmb.cli._command import Changing, Etag, Session, command
from pvesmb.cli._confirm import Sure
from pvesmb.cli._parse import pairs
from pvesmb.cli._secrets import PasswordSource
from pvesmb.cli.shares import Server, Where

app = typer.Typer(help="Users of file servers.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(metavar="USER", autocompletion=_complete.users, help="USER, SERVER/USER or BACKEND/SERVER/USER.")
]


@dataclass
class Fields:
    """Fields of a user."""

    full_name: Annotated[str | None, typer.Option(help="Name of the person.")] = None
    disabled: Annotated[bool | None, typer.Option("--disabled/--enabled", help="Whether logins are refused.")] = None
    label: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = field(default_factory=list)

    def fill(self, user: Any) -> list[str]:
        """Sets the fields that were given, and names their paths."""
        paths = []
        for name, value in (("full_name", self.full_name), ("disabled", self.disabled)):
            if value is not None:
                setattr(user, name, value)
                paths.append(name)
        if self.label:
            user.labels.update(pairs(self.label, "--label"))
            paths.append("labels")
        return paths


@app.command("create")
@command
def create(session: Changing, name: Name, fields: Fields, passwords: PasswordSource, server: Server = "") -> None:
    """Make a user. The password is asked, or read from standard input or a file descriptor."""
    from pvesmb.cli._follow import change
    from pvesmb.v1.user_pb2 import User

    parent, id = session.names.child("users", name, server)
    user = User()
    fields.fill(user)
    user.password = passwords.read([id])[0]
    change(session, lambda **how: session.client.users.create(parent, id, user, **how), "done")


@app.command("list")
@command
def listing(session: Session, where: Where = "", server: Server = "") -> None:
    """List the users of one file server, or of all."""
    from pvesmb.cli import _lists
    from pvesmb.cli._names import short
    from pvesmb.cli._render import word

    found, unreachable = _lists.contents(session, where or server, session.client.users.list)
    rows = [(short(user.name), word(user, "state"), "no" if user.disabled else "yes", user.full_name) for _, user in found]
    columns = ("NAME", "STATE", "ENABLED", "FULL NAME")
    _lists.show(session, "users", [user for _, user in found], unreachable, columns, rows)


@app.command("get")
@command
def get(session: Session, name: Name, server: Server = "") -> None:
    """Show one user."""
    from pvesmb.cli._output import as_dict, details, document
    from pvesmb.cli._render import rows

    found = session.client.users.get(session.names.full("users", name, server))
    document(as_dict(found)) if session.as_json else details(rows(found))


@app.command("update")
@command
def update(
    session: Changing,
    name: Name,
    fields: Fields,
    server: Server = "",
    remove_label: Annotated[list[str] | None, typer.Option(metavar="KEY", help="May be repeated.")] = None,
    etag: Etag = "",
) -> None:
    """Change a user: only what the options name. For the password there is reset-password."""
    from pvesmb.cli._edit import update

    full = session.names.full("users", name, server)
    update(session, session.client.users, full, fields.fill, etag, labels=remove_label or [])


@app.command("reset-password")
@command
def reset_password(
    session: Changing,
    name: Name,
    passwords: PasswordSource,
    server: Server = "",
    end_sessions: Annotated[bool, typer.Option("--end-sessions", help="End the sessions that the user has open.")] = False,
    etag: Etag = "",
) -> None:
    """Set a new password, which counts at once."""
    from pvesmb.cli._follow import change

    parent, id = session.names.child("users", name, server)
    secret = passwords.read([id])[0]
    full, users = f"{parent}/users/{id}", session.client.users
    change(session, lambda **how: users.reset_password(full, secret, end_sessions=end_sessions, etag=etag, **how), "done")


@app.command("delete")
@command
def delete(session: Changing, name: Name, sure: Sure, server: Server = "", etag: Etag = "") -> None:
    """Remove a user; open sessions end."""
    from pvesmb.cli._follow import change
    from pvesmb.cli._names import short

    full = session.names.full("users", name, server)
    if not session.dry_run:
        sure.confirm(f"delete the user {short(full)}")
    users = session.client.users
    change(session, lambda **how: users.delete(full, etag=etag, **how), f"{short(full)} has been deleted")
