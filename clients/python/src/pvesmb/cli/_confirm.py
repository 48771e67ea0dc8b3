"""Asking before something is removed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from pvesmb._errors import Cancelled, InvalidArgument
from pvesmb.cli._output import clean


@dataclass
class Sure:
    """Whether the user is."""

    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False

    def confirm(self, what: str) -> None:
        """Returns if it may be done."""
        if self.yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise InvalidArgument(f"{what} needs a confirmation, and there is no terminal to ask", help="Give --yes.")
        if not typer.confirm(clean(f"{what[0].upper()}{what[1:]}?"), err=True):
            raise Cancelled("nothing has been done")
