"""Commands with the options that all have.

A command is a function whose parameters may be dataclasses: each field of such a dataclass becomes an option of the
command, so that options common to several commands are written once. The first parameter is the session.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from pvesmb.cli._parse import duration

Etag = Annotated[str, typer.Option("--etag", help="Fail if the resource has another one by now.")]

if TYPE_CHECKING:
    from pvesmb._client import Client
    from pvesmb.cli._names import Names

_EVERYWHERE = "Everywhere"
_CHANGES = "Changes"


@dataclass
class Session:
    """What every command knows: how to reach the gateway and how to answer."""

    gateway: Annotated[
        str,
        typer.Option("--gateway", metavar="TARGET", help="host:port or unix:/path.", rich_help_panel=_EVERYWHERE),
    ] = ""
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output.", rich_help_panel=_EVERYWHERE)
    ] = False

    @functools.cached_property
    def client(self) -> Client:
        from pvesmb._client import Client
        from pvesmb._config import find

        return Client(settings=find(self.gateway or None))

    @property
    def names(self) -> Names:
        from pvesmb.cli._names import Names

        return Names(self.client)

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()


@dataclass
class Changing(Session):
    """What every command that changes something knows besides."""

    no_wait: Annotated[
        bool,
        typer.Option("--no-wait", help="Print the operation's name and do not wait.", rich_help_panel=_CHANGES),
    ] = False
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            parser=duration,
            metavar="DURATION",
            help="Wait so long at most: 30s, 5m.",
            rich_help_panel=_CHANGES,
        ),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check, and show the plan.", rich_help_panel=_CHANGES)] = (
        False
    )
    request_id: Annotated[
        str,
        typer.Option(
            "--request-id", metavar="UUID", help="Makes a repetition return the same operation.", rich_help_panel=_CHANGES
        ),
    ] = ""

    @property
    def common(self) -> dict[str, Any]:
        """The arguments that each change of the client takes."""
        return {"request_id": self.request_id, "validate_only": self.dry_run}


@dataclass(frozen=True)
class Root:
    """Options before the command, which count as if they stood behind it."""

    gateway: str = ""
    as_json: bool = False


def command(function: Callable[..., None]) -> Callable[..., None]:
    """The function as typer wants it: one keyword parameter for each option."""
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    groups: dict[str, Any] = {p.name: p.annotation for p in parameters if dataclasses.is_dataclass(p.annotation)}
    flat = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters if p.name not in groups]
    # The command's own options first, then those of the groups, those of the session last.
    for name in [*[g for g in groups if g != parameters[0].name], parameters[0].name]:
        flat += _options(groups[name])

    def run(*, context: typer.Context, **given: Any) -> None:
        made = {
            name: kind(**{f.name: given.pop(f.name) for f in dataclasses.fields(kind)}) for name, kind in groups.items()
        }
        session = made[parameters[0].name]
        root = context.find_root().obj
        if isinstance(root, Root):
            session.gateway = session.gateway or root.gateway
            session.as_json = session.as_json or root.as_json
        try:
            function(**made, **given)
        finally:
            session.close()

    flat.append(inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
    run.__dict__["__signature__"] = inspect.Signature(flat)
    run.__annotations__ = {p.name: p.annotation for p in flat}
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    return run


def _options(kind: type[Any]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name])
