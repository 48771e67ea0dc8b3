"""`pvesmb backends`."""

from __future__ import annotations

from typing import Annotated

import typer

from pvesmb.cli import _complete
from pvesmb.cli._command import Root, Session, command

app = typer.Typer(help="The backends, which make file servers.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(metavar="BACKEND", autocompletion=_complete.backends)]


@command
def listing(session: Session) -> None:
    """List the backends, with mode, health and version."""
    from pvesmb.cli import _lists
    from pvesmb.cli._names import short
    from pvesmb.cli._render import word

    found = list(session.client.backends.list())
    rows = [(short(b.name), word(b, "mode"), word(b, "health"), b.version, b.node, b.samba_version) for b in found]
    _lists.show(session, "backends", found, (), ("NAME", "MODE", "HEALTH", "VERSION", "NODE", "SAMBA"), rows)


@app.callback()
def backends(
    ctx: typer.Context,
    gateway: Annotated[str, typer.Option("--gateway", metavar="TARGET", help="host:port or unix:/path.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """The backends, which make file servers. Without a command, lists them."""
    root = ctx.find_root()
    before = root.obj if isinstance(root.obj, Root) else Root()
    root.obj = Root(gateway or before.gateway, as_json or before.as_json)
    if ctx.invoked_subcommand is None:
        listing(context=ctx, gateway=gateway, as_json=as_json)


app.command("list")(listing)


@app.command("get")
@command
def get(session: Session, name: Name) -> None:
    """Show one backend, freshly asked."""
    from pvesmb.cli._output import as_dict, details, document
    from pvesmb.cli._render import rows

    found = session.client.backends.get(session.names.backend(name))
    document(as_dict(found)) if session.as_json else details(rows(found))
