"""Passwords: by hidden prompt, from stdin or from a file descriptor. Never from an option: everybody on a machine can read
the arguments of its processes, and the shell keeps them."""

from __future__ import annotations

import getpass
import os
import sys
import warnings
from collections.abc import Sequence
from typing import BinaryIO

import typer

_TRIES = 3


def ask(users: Sequence[str], *, from_stdin: bool, fd: int | None) -> list[str]:
    """One password for each user: a line each of stdin or of the descriptor, else asked twice at the terminal."""
    if from_stdin and fd is not None:
        raise typer.BadParameter("give --password-stdin or --password-fd, not both")
    if from_stdin:
        return _lines(sys.stdin.buffer, users, "--password-stdin")
    if fd is not None:
        try:
            stream = os.fdopen(fd, "rb")
        except OSError as error:
            raise typer.BadParameter(f"--password-fd {fd}: {error.strerror}") from None
        with stream:
            return _lines(stream, users, f"--password-fd {fd}")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise typer.BadParameter("no terminal to ask for the password; use --password-stdin or --password-fd N")
    return [_prompt(user) for user in users]


def _lines(stream: BinaryIO, users: Sequence[str], source: str) -> list[str]:
    passwords = []
    for user in users:
        try:
            line = stream.readline().decode("utf-8")
        except OSError as error:
            raise typer.BadParameter(f"{source}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise typer.BadParameter(f"{source}: the password of {user} is not UTF-8") from None
        password = line.removesuffix("\n").removesuffix("\r")
        if not password:
            raise typer.BadParameter(f"{source}: no password for {user}; give one line for each user")
        passwords.append(password)
    return passwords


def _prompt(user: str) -> str:
    with warnings.catch_warnings():
        # It would fall back to showing what is typed.
        warnings.simplefilter("error", getpass.GetPassWarning)
        for _ in range(_TRIES):
            try:
                password = getpass.getpass(f"Password for {user}: ")
                again = getpass.getpass("The same again: ")
            except getpass.GetPassWarning:
                raise typer.BadParameter("the terminal cannot hide a password; use --password-stdin") from None
            except EOFError:
                raise typer.BadParameter("no password was typed") from None
            if password and password == again:
                return password
            sys.stderr.write("The two differ; once more.\n" if password else "A password is needed.\n")
    raise typer.BadParameter(f"no password for {user} after {_TRIES} tries")
