"""Lists over one file server, or over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pvesmb._errors import NotFound, Unavailable
from pvesmb._lists import Listing
from pvesmb.cli._command import Session
from pvesmb.cli._names import short
from pvesmb.cli._output import as_dict, document, note, table
from pvesmb.v1.file_server_pb2 import FileServer


def contents(
    session: Session, server: str, listed: Callable[[str], Listing[Any]]
) -> tuple[list[tuple[FileServer, Any]], list[str]]:
    """What is in the file server, or without one in all of them, each with its file server; and the backends that could
    not be asked."""
    if server:
        found = session.client.file_servers.get(session.names.server(server))
        return [(found, item) for item in listed(found.name)], []
    servers, silent = session.names.servers()
    items, unreachable = [], list(silent)
    for one in servers:
        try:
            items += [(one, item) for item in listed(one.name)]
        except NotFound:
            continue  # it has been deleted meanwhile
        except Unavailable:
            backend = "/".join(one.name.split("/")[:2])
            unreachable += [backend] if backend not in unreachable else []
    return items, unreachable


def show(
    session: Session,
    key: str,
    messages: Sequence[Any],
    unreachable: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> None:
    """The list as JSON under `key`, or as a table. That it is not whole is said in both."""
    if session.as_json:
        document({key: [as_dict(m) for m in messages], "unreachable": list(unreachable)})
        return
    table(columns, rows, "There are none.")
    if unreachable:
        note(f"Not whole: {', '.join(short(name) for name in unreachable)} could not be reached.")
