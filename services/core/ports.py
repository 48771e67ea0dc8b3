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


class Vault(Protocol):
    """Keeps secrets out of the store in clear."""

    def seal(self, secret: str, context: str) -> bytes:
        """Encrypts for the store; only with the same `context` can it be opened again."""

    def open(self, sealed: bytes, context: str) -> str:
        """The secret again; an error if it was tampered with or the context differs."""

    def derive(self, label: str) -> str:
        """A password of 32 characters that is always the same for this label, and tells nothing about others."""


class Telemetry(Protocol):
    """What the core counts."""

    def operation_ended(self, verb: str, kind: str, outcome: str, seconds: float) -> None:
        """`outcome` is `ok` or the reason of the error; `seconds` from acceptance to end."""

    def step_ended(self, step: str, action: str, ok: bool, seconds: float) -> None:
        """`action` is `ensure` or `remove`."""

    def queue_length(self, waiting: int) -> None:
        """Operations that wait for a worker."""

    def drift(self, found: int, repaired: int) -> None:
        """Differences that a check found, and how many of them were repaired."""
