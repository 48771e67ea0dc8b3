"""Passwords: by prompt, standard input or file descriptor, and in no other way. What stands on a command line can be read
by every process of the machine."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from pvesmb._errors import InvalidArgument

_PANEL = "Password"
#: More than any password takes (127 characters), whatever is behind the descriptor.
_LIMIT = 64 * 1024


@dataclass
class PasswordSource:
    """Where passwords come from; without options, from the terminal."""

    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read the password from standard input.", rich_help_panel=_PANEL),
    ] = False
    password_fd: Annotated[
        int | None,
        typer.Option(
            "--password-fd", metavar="N", help="Read the password from this file descriptor.", rich_help_panel=_PANEL
        ),
    ] = None

    def read(self, users: Sequence[str]) -> list[str]:
        """One password for each user: one line each, in their order, or asked for twice."""
        if self.password_stdin and self.password_fd is not None:
            raise InvalidArgument("--password-stdin and --password-fd exclude each other")
        if self.password_stdin:
            return _lines(0, users, "standard input")
        if self.password_fd is not None:
            return _lines(self.password_fd, users, f"file descriptor {self.password_fd}")
        return [_ask(user) for user in users]


def _lines(fd: int, users: Sequence[str], source: str) -> list[str]:
    data = b""
    try:
        while len(data) < _LIMIT and (chunk := os.read(fd, 4096)):
            data += chunk
        lines = data.decode().split("\n")
    except OSError as error:
        raise InvalidArgument(f"{source} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"what {source} gives is not UTF-8") from None
    if lines and not lines[-1]:
        lines.pop()
    lines = [text.removesuffix("\r") for text in lines]
    if len(lines) != len(users) or not all(lines):
        count = "one line, the password" if len(users) == 1 else f"{len(users)} lines, the passwords of {', '.join(users)}"
        raise InvalidArgument(f"{source} must give {count}")
    return lines


def _ask(user: str) -> str:
    import getpass

    if not sys.stdin.isatty():
        raise InvalidArgument(
            "there is no terminal to ask for the password", help="Give it by --password-stdin or --password-fd N."
        )
    with warnings.catch_warnings():
        # Where a terminal cannot hide what is typed, getpass would only warn.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            first = getpass.getpass(f"Password for {user}: ", stream=sys.stderr)
            second = getpass.getpass("The same again: ", stream=sys.stderr) if first else ""
        except getpass.GetPassWarning:
            raise InvalidArgument("the terminal cannot hide a password", help="Use --password-stdin.") from None
        except EOFError:
            raise InvalidArgument("no password was typed") from None
    if not first:
        raise InvalidArgument("the password is empty")
    if first != second:
        raise InvalidArgument("the two passwords differ")
    return first
