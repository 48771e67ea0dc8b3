"""Completion of names. Whatever goes wrong, there is just nothing to offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pvesmb._client import Client

_SECONDS = 2.0


def _names(context: typer.Context, incomplete: str, names: Callable[[Client], Iterable[str]]) -> list[str]:
    from pvesmb._client import Client
    from pvesmb._config import find
    from pvesmb._errors import PvesmbError
    from pvesmb.cli._names import short
    from pvesmb.cli._output import clean

    gateway = context.params.get("gateway") or context.find_root().params.get("gateway")
    try:
        with Client(settings=find(gateway or None), timeout=_SECONDS) as client:
            found = [short(name) for name in names(client)]
    except PvesmbError:
        return []
    return [name for name in found if name.startswith(incomplete) and name == clean(name)]


def backends(ctx: typer.Context, incomplete: str) -> list[str]:
    return _names(ctx, incomplete, lambda client: (b.name for b in client.backends.list()))


def servers(ctx: typer.Context, incomplete: str) -> list[str]:
    return _names(ctx, incomplete, lambda client: (s.name for s in client.file_servers.list()))


def shares(ctx: typer.Context, incomplete: str) -> list[str]:
    return _names(
        ctx, incomplete, lambda client: (x.name for s in client.file_servers.list() for x in client.shares.list(s.name))
    )


def users(ctx: typer.Context, incomplete: str) -> list[str]:
    return _names(
        ctx, incomplete, lambda client: (x.name for s in client.file_servers.list() for x in client.users.list(s.name))
    )


def groups(ctx: typer.Context, incomplete: str) -> list[str]:
    return _names(
        ctx, incomplete, lambda client: (x.name for s in client.file_servers.list() for x in client.groups.list(s.name))
    )


def templates(ctx: typer.Context, incomplete: str) -> list[str]:
    return _names(ctx, incomplete, lambda client: (t.name for t in client.templates.list()))


def operations(ctx: typer.Context, incomplete: str) -> list[str]:
    return _names(ctx, incomplete, lambda client: (o.name for o in client.operations.list()))
