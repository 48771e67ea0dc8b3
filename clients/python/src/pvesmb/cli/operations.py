"""`pvesmb operation`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pvesmb.cli import _complete
from pvesmb.cli._command import Session, command
from pvesmb.cli._parse import duration

app = typer.Typer(help="Changes under way or ended.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        metavar="OPERATION", autocompletion=_complete.operations, help="Full name, BACKEND/OPERATION or OPERATION."
    ),
]


def _state(handle: Any) -> str:
    if not handle.operation.done:
        return "cancelling" if handle.metadata.cancel_requested else "running"
    return "failed" if handle.operation.HasField("error") else "done"


@app.command("list")
@command
def listing(
    session: Session,
    backend: Annotated[str, typer.Option(autocompletion=_complete.backends, help="Only those of this backend.")] = "",
) -> None:
    """List the operations, of the last 7 days."""
    from pvesmb.cli._follow import current_step, operation_dict
    from pvesmb.cli._names import short
    from pvesmb.cli._output import document, note, table
    from pvesmb.cli._render import time, word

    listing = session.client.operations.list(session.names.backend(backend) if backend else "backends/-")
    found = list(listing)
    silent = listing.unreachable
    if session.as_json:
        document({"operations": [operation_dict(handle) for handle in found], "unreachable": silent})
        return
    rows = [
        (
            short(handle.name),
            word(handle.metadata, "verb"),
            short(handle.metadata.target),
            _state(handle),
            f"{handle.metadata.progress_percent} %",
            "" if handle.operation.done else current_step(handle.metadata),
            time(handle.metadata.create_time),
        )
        for handle in found
    ]
    table(("NAME", "VERB", "TARGET", "STATE", "PROGRESS", "STEP", "CREATED"), rows, "There are none.")
    if silent:
        note(f"Not whole: {', '.join(short(name) for name in silent)} could not be reached.")


@app.command("get")
@command
def get(session: Session, name: Name) -> None:
    """Show one operation with its steps."""
    from pvesmb._errors import from_status
    from pvesmb.cli._follow import show_operation
    from pvesmb.cli._output import details
    from pvesmb.cli._render import rows

    handle = session.client.operations.get(session.names.operation(name))
    if session.as_json:
        show_operation(handle)
        return
    found = [("name", handle.name), ("state", _state(handle)), *rows(handle.metadata)]
    if handle.operation.HasField("error"):
        error = from_status(handle.operation.error)
        found += [("error", f"{error.message} ({error.reason})"), ("what to do", error.help)]
    details(found)


@app.command("wait")
@command
def wait(
    session: Session,
    name: Name,
    timeout: Annotated[
        float | None, typer.Option("--timeout", parser=duration, metavar="DURATION", help="So long at most: 30s, 5m.")
    ] = None,
) -> None:
    """Wait for an operation; the exit status is that of what it did."""
    from pvesmb.cli._follow import finish

    handle = session.client.operations.get(session.names.operation(name))
    finish(handle, timeout, as_json=session.as_json, done=f"{handle.name} is done")


@app.command("cancel")
@command
def cancel(session: Session, name: Name) -> None:
    """Cancel an operation: it stops at its next step and undoes what it did."""
    from pvesmb.cli._follow import show_operation
    from pvesmb.cli._output import line

    full = session.names.operation(name)
    session.client.operations.cancel(full)
    if session.as_json:
        show_operation(session.client.operations.get(full))
    else:
        line(f"{full} is asked to stop; `pvesmb operation wait {full}` shows how it ends")
