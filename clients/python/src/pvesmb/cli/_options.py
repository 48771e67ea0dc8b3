"""Options that many commands share, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

import typer

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, and errors as one JSON object on stderr.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait; print the name of the operation.")]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="SECONDS", help="Wait at most so long (also 5m, 1h); it goes on after.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check, and show what would be done.")]
RequestId = Annotated[
    str | None, typer.Option("--request-id", metavar="UUID", help="Makes it safe to repeat the command within 24 hours.")
]
Etag = Annotated[str, typer.Option("--etag", help="Only if the resource still has this etag.")]
Filter = Annotated[str, typer.Option("--filter", help="Such as 'state = READY AND labels.team = \"a\"'.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label of your own. Repeatable.")]
RemoveLabels = Annotated[list[str] | None, typer.Option("--remove-label", metavar="KEY", help="Repeatable.")]
InServer = Annotated[
    str | None, typer.Option("--server", metavar="SERVER", help="The file server: SERVER, BACKEND/SERVER or full name.")
]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin, one line.")]
PasswordFd = Annotated[
    int | None, typer.Option("--password-fd", metavar="N", min=0, help="Read the password from this open descriptor.")
]

NAME_HELP = "NAME, SERVER/NAME, BACKEND/SERVER/NAME or the full name."
SERVER_HELP = "SERVER, BACKEND/SERVER or the full name."

_REQUEST_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def value_of(option: str, parse: Callable[[str], T], text: str) -> T:
    """What `parse` makes of the text; its ValueError as an error about the option."""
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None


def pairs(option: str, texts: Iterable[str] | None) -> dict[str, str]:
    """`NAME=VALUE` options as a mapping."""
    found: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        key = key.strip()
        if not key or not equals:
            raise typer.BadParameter(f"{option}: {text!r} is not NAME=VALUE")
        if key in found:
            raise typer.BadParameter(f"{option}: {key!r} is given twice")
        found[key] = value.strip()
    return found


def changed(
    option: str, current: dict[str, str], add: Iterable[str] | None, remove: Iterable[str] | None
) -> dict[str, str]:
    """A mapping with pairs added and keys taken away."""
    wanted = current | pairs(option, add)
    for key in remove or ():
        if key not in wanted:
            raise typer.BadParameter(f"{option}: {key!r} is not set")
        del wanted[key]
    return wanted


def several(texts: Iterable[str]) -> list[str]:
    """A list given by repetition; a single empty value empties the list."""
    return [text for text in texts if text]


def checked_request_id(text: str | None) -> str | None:
    if text is not None and not _REQUEST_ID.fullmatch(text):
        raise typer.BadParameter("--request-id: must be a UUID, such as `uuidgen` prints")
    return text
