"""What the core and its steps need from the world, as Protocols. Adapters live beside what they adapt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """How a command ended. Output is bytes, cut at the host's limit."""

    returncode: int
    stdout: bytes
    stderr: bytes


class Host(Protocol):
    """Where a file server's commands run: this node, a container, a virtual machine.

    Every method raises `HostTimeout` when the time is over and `HostUnreachable` when the host does not answer. A command
    that ends with an exit status other than 0 is no error here. Secrets go in by `stdin` only.
    """

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        """Runs one command (never through a shell) and waits for it, at most `timeout` seconds."""

    def read_file(self, path: str) -> bytes:
        """The whole file; `FileNotFoundError` if there is none."""

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """Puts the file in place whole or not at all (temporary file, fsync, rename); `StorageFull` leaves the old one."""

    def remove(self, path: str) -> None:
        """Removes one file; no error if there is none."""


class Clock(Protocol):
    """Time, so that tests can set it."""

    def now(self) -> float:
        """Seconds since the epoch."""
