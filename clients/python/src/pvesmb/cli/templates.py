"""`pvesmb template`."""

from __future__ import annotations

from typing import Annotated

import typer

from pvesmb.cli import _complete
from pvesmb.cli._command import Changing, Etag, Session, command
from pvesmb.cli._confirm import Sure

app = typer.Typer(help="Templates, which file servers in guests are made from.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(metavar="TEMPLATE", autocompletion=_complete.templates, help="TEMPLATE or BACKEND/TEMPLATE.")
]
Backend = Annotated[str, typer.Argument(metavar="[BACKEND]", autocompletion=_complete.backends)]


@app.command("list")
@command
def listing(session: Session, backend: Backend = "") -> None:
    """List templates: those that a backend has built, and those found on its storage."""
    from pvesmb._units import format_size
    from pvesmb.cli import _lists
    from pvesmb.cli._names import short
    from pvesmb.cli._render import word

    listing = session.client.templates.list(session.names.backend(backend) if backend else "backends/-")
    found = list(listing)
    rows = [
        (
            short(t.name),
            word(t, "state"),
            word(t, "origin"),
            str(t.debian_release or ""),
            "yes" if t.current else "no",
            format_size(t.size_bytes) if t.size_bytes else "",
        )
        for t in found
    ]
    columns = ("NAME", "STATE", "ORIGIN", "DEBIAN", "CURRENT", "SIZE")
    _lists.show(session, "templates", found, listing.unreachable, columns, rows)


@app.command("build")
@command
def build(
    session: Changing,
    backend: Backend = "",
    debian: Annotated[int, typer.Option(metavar="RELEASE", help="12 (default) or 13.")] = 0,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Even if it is there: with the packages of today.")] = False,
) -> None:
    """Build the template and bring it to the backend's storage. Quick where it is there."""
    from pvesmb.cli._follow import change

    parent, templates = session.names.guest_backend(backend), session.client.templates
    change(session, lambda **how: templates.build(parent, debian_release=debian, rebuild=rebuild, **how), "done")


@app.command("get")
@command
def get(session: Session, name: Name) -> None:
    """Show one template."""
    from pvesmb.cli._output import as_dict, details, document
    from pvesmb.cli._render import rows

    found = session.client.templates.get(session.names.template(name))
    document(as_dict(found)) if session.as_json else details(rows(found))


@app.command("validate")
@command
def validate(session: Session, name: Name) -> None:
    """Look whether a template is as it should be; fails if it is not."""
    from pvesmb._errors import FailedPrecondition
    from pvesmb.cli._names import short
    from pvesmb.cli._output import as_dict, document, line
    from pvesmb.cli._render import condition

    full = session.names.template(name)
    answer = session.client.templates.validate(full)
    if session.as_json:
        document(as_dict(answer))
    else:
        line(f"{short(full)} is {'valid' if answer.valid else 'not valid'}")
        for each in answer.conditions:
            line(condition(each))
    if not answer.valid:
        raise FailedPrecondition(f"{short(full)} is not valid", help="Build it again: `pvesmb template build`.")


@app.command("delete")
@command
def delete(session: Changing, name: Name, sure: Sure, etag: Etag = "") -> None:
    """Remove a template that a backend has built."""
    from pvesmb.cli._follow import change
    from pvesmb.cli._names import short

    full = session.names.template(name)
    if not session.dry_run:
        sure.confirm(f"delete the template {short(full)}")
    templates = session.client.templates
    change(session, lambda **how: templates.delete(full, etag=etag, **how), f"{short(full)} has been deleted")
