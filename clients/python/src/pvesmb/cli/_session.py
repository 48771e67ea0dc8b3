"""What the commands of one run share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pvesmb._client import Client


@dataclass
class Session:
    """`client` connects when it is first asked for. `told` is set when an interruption has been explained already."""

    gateway: str | None = None
    told: bool = False
    _client: Client | None = field(default=None, repr=False)

    @property
    def client(self) -> Client:
        if self._client is None:
            from pvesmb._client import Client
            from pvesmb._config import find

            self._client = Client(settings=find(self.gateway))
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def session_of(ctx: typer.Context) -> Session:
    """The session of this run; one is made where a program calls the command itself."""
    return ctx.ensure_object(Session)


def client_of(ctx: typer.Context) -> Client:
    return session_of(ctx).client
