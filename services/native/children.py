"""Child processes with three pipes, however they came to be."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.core.errors import HostNotPrepared

#: Nothing of the service's own environment reaches a command: it may hold secrets, and a locale would change messages.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass
class Process:
    """A process that leads a group of its own, with our ends of its pipes. `pidfd` is readable when it has ended; `wait`
    then gives its exit status, negative if a signal ended it. `further` are descriptors that go with it."""

    pid: int
    pidfd: int
    stdin: int
    stdout: int
    stderr: int
    wait: Callable[[], int]
    further: tuple[int, ...] = ()

    def kill(self) -> None:
        """Its whole group, and waits for it. A forked one may not lead its group yet."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def close_stdin(self) -> None:
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def close(self) -> None:
        self.close_stdin()
        for fd in (self.stdout, self.stderr, self.pidfd, *self.further):
            os.close(fd)


def spawn(argv: Sequence[str]) -> Process:
    """Starts a program; `HostNotPrepared` if there is none of that name."""
    with contextlib.ExitStack() as undo, Pipes() as pipes:
        undo.callback(pipes.close_ours)
        stdin, stdout, stderr = pipes.ours
        try:
            popen = subprocess.Popen(
                argv, stdin=pipes.theirs[0], stdout=pipes.theirs[1], stderr=pipes.theirs[2],
                cwd="/", env=ENVIRONMENT, start_new_session=True,
            )  # fmt: skip
        except (FileNotFoundError, PermissionError):
            raise missing(argv[0]) from None
        try:
            process = Process(popen.pid, os.pidfd_open(popen.pid), stdin, stdout, stderr, wait=popen.wait)
        except OSError:
            popen.kill()
            popen.wait()
            raise
        undo.pop_all()
    return process


class Pipes:
    """Standard input, output and error, and `more` further outputs: the ends of the child, which are closed here with the
    block, and ours."""

    def __init__(self, more: int = 0) -> None:
        self.theirs: list[int] = []
        self.ours: list[int] = []
        try:
            for number in range(3 + more):
                ends = os.pipe()
                self.theirs.append(ends[number > 0])
                self.ours.append(ends[number == 0])
        except OSError:
            self.close_ours()
            self.__exit__()
            raise

    def __enter__(self) -> Pipes:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self.theirs:
            os.close(fd)

    def close_ours(self) -> None:
        for fd in self.ours:
            os.close(fd)


def missing(program: str) -> HostNotPrepared:
    name = os.path.basename(program)
    return HostNotPrepared(f"the program {name} is missing on this host", metadata={"name": name})
