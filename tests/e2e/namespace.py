"""The test process lives in a network namespace of its own: its clients reach containers there, and nobody else's network
is touched."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.stack import netns
from tests.e2e.process import CLONE


@dataclass(frozen=True)
class Namespace:
    """`outside` is an open file of the one that the process came from."""

    name: str
    outside: int

    def command_outside(self, argv: Sequence[str]) -> list[str]:
        """The command, to be run where the machine's own network is: for what has to be fetched."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.outside}", "--", *argv]


@functools.cache
def enter() -> Namespace:
    """Moves this process into a new namespace, once; threads that run already would stay behind. The name goes with the
    process, however that ends."""
    found = Namespace(f"pvesmb-e2e-{os.getpid()}", os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    _cleaner(found.name)
    netns.ensure(found.name)
    netns.enter(found.name)
    return found


def leave() -> None:
    """At the end of the process: takes the name away."""
    if enter.cache_info().currsize:
        cleaner = _cleaner(enter().name)
        assert cleaner.stdin is not None
        cleaner.stdin.close()
        cleaner.wait()


@functools.cache
def _cleaner(name: str) -> subprocess.Popen[bytes]:
    """Kept by the cache, and with it our end of the pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.cleanup", "--netns", name],
        cwd=CLONE,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
