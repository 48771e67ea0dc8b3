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
    pipes = Pipes()
    try:
        popen = subprocess.Popen(
            argv, stdin=pipes.theirs[0], stdout=pipes.theirs[1], stderr=pipes.theirs[2],
            cwd="/", env=ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
    except (FileNotFoundError, PermissionError):
        pipes.close_ours()
        raise missing(argv[0]) from None
    except BaseException:
        pipes.close_ours()
        raise
    finally:
        pipes.close_theirs()
    return Process(popen.pid, os.pidfd_open(popen.pid), *pipes.ours, wait=popen.wait)


class Pipes:
    """Standard input, output and error: the ends of the child, and ours."""

    def __init__(self) -> None:
        (stdin, feed), (drain, stdout), (drain_errors, stderr) = (os.pipe() for _ in range(3))
        self.theirs = (stdin, stdout, stderr)
        self.ours = (feed, drain, drain_errors)

    def close_theirs(self) -> None:
        for fd in self.theirs:
            os.close(fd)

    def close_ours(self) -> None:
        for fd in self.ours:
            os.close(fd)


def missing(program: str) -> HostNotPrepared:
    name = os.path.basename(program)
    return HostNotPrepared(f"the program {name} is missing on this host", metadata={"name": name})
