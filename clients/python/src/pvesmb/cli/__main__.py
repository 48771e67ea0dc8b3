"""`pvesmb`: the command line of PVE SMB Gateway."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

import pvesmb
from pvesmb._errors import PvesmbError
from pvesmb.cli import _exit, backends, groups, operations, servers, shares, templates, users
from pvesmb.cli._command import Root, Session, command
from pvesmb.cli._output import document, line, note

app = typer.Typer(
    name="pvesmb",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, passwords among them
    epilog=_exit.EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(backends.app, name="backends")
app.add_typer(servers.app, name="server")
app.add_typer(shares.app, name="share")
app.add_typer(users.app, name="user")
app.add_typer(groups.app, name="group")
app.add_typer(templates.app, name="template")
app.add_typer(operations.app, name="operation")


@app.callback()
def root(
    ctx: typer.Context,
    gateway: Annotated[str, typer.Option("--gateway", metavar="TARGET", help="host:port or unix:/path.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """SMB shares from Proxmox VE storage.

    Without --gateway or PVESMB_GATEWAY, the running gateway is found by the file that `make run` writes,
    ~/.config/pvesmb/client.toml or /etc/pvesmb/client.toml.
    """
    ctx.obj = Root(gateway, as_json)


@app.command("version")
@command
def version(session: Session) -> None:
    """Show the versions of this program and of the backends that can be reached."""
    found = {}
    try:
        found = {backend.name: backend.version for backend in session.client.backends.list()}
    except PvesmbError as error:
        if not session.as_json:
            note(f"The backends cannot be asked: {error.message}")
    if session.as_json:
        document({"client": pvesmb.__version__, "backends": found})
        return
    line(f"pvesmb {pvesmb.__version__}")
    for name, text in found.items():
        line(f"{name} {text}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; its exit status is that of `_exit`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # gRPC's own log lines are for those who develop with it.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    as_json = "--json" in given
    try:
        "\0".join(given).encode()
    except UnicodeEncodeError:
        _report(as_json, "INVALID_ARGUMENT", "an argument is not UTF-8", help="Give names and texts in UTF-8.")
        return _exit.USAGE
    try:
        status: Any = app(args=given, prog_name="pvesmb", standalone_mode=False)
        sys.stdout.flush()
    except PvesmbError as error:
        return _failed(error, as_json)
    except _exit.Interrupted as error:
        _report(as_json, "INTERRUPTED", error.message, help=error.help, operation=error.operation)
        return _exit.INTERRUPTED
    except typer.TyperException as error:
        if not error.format_message():
            return _exit.USAGE  # a group without a command has shown its help
        _report(as_json, "INVALID_ARGUMENT", error.format_message(), help="`--help` shows how it is used.")
        return _exit.USAGE
    except typer.Abort:
        _report(as_json, "CANCELLED", "nothing has been done")
        return _exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _exit.GENERAL
    except Exception as error:
        if os.environ.get("PVESMB_DEBUG"):
            raise
        _report(
            as_json, "INTERNAL", f"unexpected {type(error).__name__}", help="PVESMB_DEBUG=1 shows more; please report it."
        )
        return _exit.GENERAL
    if status == _exit.INTERRUPTED:
        _report(as_json, "INTERRUPTED", "interrupted", help="`pvesmb operation list` shows what was begun.")
    return status if isinstance(status, int) else _exit.OK


def _failed(error: PvesmbError, as_json: bool) -> int:
    violations = [{"field": v.field, "description": v.description} for v in error.field_violations]
    _report(
        as_json,
        error.code_name,
        error.message,
        reason=error.reason,
        help=error.help,
        operation=error.operation,
        metadata=error.metadata,
        fieldViolations=violations,
    )
    return _exit.BY_CODE.get(error.code, _exit.GENERAL)


def _report(as_json: bool, code: str, message: str, **more: Any) -> None:
    """The error on standard error: one JSON object that always has the same keys, or lines for people."""
    if as_json:
        empty: dict[str, Any] = {"reason": "", "message": message, "help": "", "metadata": {}, "fieldViolations": []}
        document({"code": code, **empty, **{k: v for k, v in more.items() if v}}, error=True)
        return
    note(f"Error: {message}" + (f" ({more['reason']})" if more.get("reason") else ""))
    for violation in more.get("fieldViolations") or ():
        text = f"{violation['field']}: {violation['description']}"
        # An error about one field says the same as its message.
        if text != message:
            note(f"  {text}")
    if more.get("operation") and code != "INTERRUPTED":
        note(f"Operation: {more['operation']}")
    if more.get("help"):
        note(f"What to do: {more['help']}")


if __name__ == "__main__":
    sys.exit(main())
