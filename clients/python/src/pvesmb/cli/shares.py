"""`pvesmb share`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pvesmb.cli import _complete
from pvesmb.cli._command import Changing, Etag, Session, command
from pvesmb.cli._confirm import Sure
from pvesmb.cli._share_fields import Changes, Fields, Storage

app = typer.Typer(help="Shares of file servers.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(metavar="SHARE", autocompletion=_complete.shares, help="SHARE, SERVER/SHARE or BACKEND/SERVER/SHARE."),
]
Server = Annotated[
    str,
    typer.Option(
        "--server", autocompletion=_complete.servers, help="SERVER or BACKEND/SERVER; needed if there are several."
    ),
]
Where = Annotated[str, typer.Argument(metavar="SERVER", autocompletion=_complete.servers, help="Only those of this one.")]


@app.command("create")
@command
def create(session: Changing, name: Name, fields: Fields, storage: Storage, server: Server = "") -> None:
    """Make a share. When it is done, a client has been able to reach it."""
    from pvesmb.cli._follow import change
    from pvesmb.cli._output import note
    from pvesmb.v1.share_pb2 import Share

    parent, id = session.names.child("shares", name, server)
    share = Share()
    storage.fill(share, fields.size)
    fields.fill(share)
    if not share.access and not share.guest_access and not session.as_json:
        note("Nobody may use this share yet: --user NAME[:LEVEL], --group or --everyone say who may.")
    change(session, lambda **how: session.client.shares.create(parent, id, share, **how), "done")


@app.command("list")
@command
def listing(
    session: Session,
    where: Where = "",
    server: Server = "",
    filter: Annotated[str, typer.Option(help="Such as 'state = READY AND labels.team = \"a\"'.")] = "",
) -> None:
    """List the shares of one file server, or of all."""
    from pvesmb.cli import _lists
    from pvesmb.cli._names import short
    from pvesmb.cli._render import access, address, storage, word

    shares = session.client.shares
    found, unreachable = _lists.contents(session, where or server, lambda parent: shares.list(parent, filter=filter))
    rows = [
        (
            short(share.name),
            f"//{address(one.endpoints[0])}/{share.name.rsplit('/', 1)[-1]}" if one.endpoints else "",
            word(share, "state"),
            storage(share),
            ", ".join(access(rule) for rule in share.access),
            share.comment,
        )
        for one, share in found
    ]
    columns = ("NAME", "ADDRESS", "STATE", "STORAGE", "ACCESS", "COMMENT")
    _lists.show(session, "shares", [share for _, share in found], unreachable, columns, rows)


@app.command("get")
@command
def get(session: Session, name: Name, server: Server = "") -> None:
    """Show one share."""
    from pvesmb.cli._output import as_dict, details, document
    from pvesmb.cli._render import rows

    found = session.client.shares.get(session.names.full("shares", name, server))
    document(as_dict(found)) if session.as_json else details(rows(found))


@app.command("update")
@command
def update(session: Changing, name: Name, fields: Fields, changes: Changes, server: Server = "", etag: Etag = "") -> None:
    """Change a share: only what the options name. Rights, labels and options that are not named stay."""
    from pvesmb.cli._edit import update

    def fill(share: Any) -> list[str]:
        return changes.apply(share) + fields.fill(share, resize=True)

    fields.user += changes.add_user
    fields.group += changes.add_group
    full = session.names.full("shares", name, server)
    update(session, session.client.shares, full, fill, etag, labels=changes.remove_label)


@app.command("delete")
@command
def delete(
    session: Changing,
    name: Name,
    sure: Sure,
    server: Server = "",
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also the files, if their place was made here.")
    ] = False,
    etag: Etag = "",
) -> None:
    """Remove a share; its connections end, its files stay unless --delete-data is given."""
    from pvesmb.cli._follow import change
    from pvesmb.cli._names import short

    full = session.names.full("shares", name, server)
    if not session.dry_run:
        sure.confirm(f"delete the share {short(full)}{' and its files' if delete_data else ''}")
    shares = session.client.shares
    done = f"{short(full)} has been deleted" + ("" if delete_data else "; its files stay")
    change(session, lambda **how: shares.delete(full, delete_data=delete_data, etag=etag, **how), done)
