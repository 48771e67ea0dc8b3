"""Runs one program again and again without loading it anew: children are forked off a process that has it loaded."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial

from services.native.children import ENVIRONMENT, Pipes, Process
from services.native.settings import NSS_WRAPPER

#: To load Samba's binding takes a tenth of a second; an answer after that, a thousandth.
ANSWER_SECONDS = 10.0
END_SECONDS = 2.0
#: nss_wrapper(1) reads its settings once, at the first fork at the latest. So it is given names without a directory, and
#: each child goes to the directory where its files have these names.
PRELOADED = {"LD_PRELOAD": NSS_WRAPPER, "NSS_WRAPPER_PASSWD": "passwd", "NSS_WRAPPER_GROUP": "group"}
#: Without it Python asks for it when it starts, where there is no such file yet.
HOME = {"HOME": "/"}


class ForkServer:
    """Keeps one process of `program`, which is started with the further word `serve` (see samba/agent/serving.py) and sees
    the users of an instance by nss_wrapper(1). It ends by itself when it is idle, and with us, also when we are killed; it
    is started when it is needed."""

    def __init__(self, program: Sequence[str]) -> None:
        self._program = list(program)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def can_run(self, argv: Sequence[str]) -> Mapping[str, str] | None:
        """The environment that the command sets by env(1), if it is our program with users of an instance."""
        if list(argv[-len(self._program) :]) != self._program:
            return None
        head = list(argv[: -len(self._program)])
        if head[:1] != ["env"] or not all("=" in word for word in head[1:]):
            return None
        asked = dict(word.split("=", 1) for word in head[1:])
        names = {name: os.path.basename(value) for name, value in asked.items()}
        return asked if names == PRELOADED else None

    def start(self, argv: Sequence[str], deadline: float) -> Process | None:
        """A child that runs the command; none if it is not for us, or the server cannot be had: starting the program in the
        usual way then tells why. `TimeoutError` if it was not there at the deadline, of time.monotonic()."""
        environment = self.can_run(argv)
        if environment is None:
            return None
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        try:
            # One that has ended, being idle or old, is noticed by asking it.
            return self._ask(environment, deadline) or self._ask(environment, deadline)
        except TimeoutError:
            self._drop()
            return None
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _ask(self, environment: Mapping[str, str], deadline: float) -> Process | None:
        """A new child; none if the server has ended. A child of which we were not told does nothing: our ends of its pipes
        are closed before it has read a request."""
        with contextlib.ExitStack() as undo, Pipes(more=1) as pipes:
            undo.callback(pipes.close_ours)
            try:
                connection = self._connection or self._open()
                connection.settimeout(max(0.001, min(ANSWER_SECONDS, deadline - time.monotonic())))
                socket.send_fds(connection, [json.dumps(environment).encode()], pipes.theirs)
                answer, received, _, _ = socket.recv_fds(connection, 64, 1)
            except (BrokenPipeError, ConnectionResetError, FileNotFoundError, PermissionError):
                answer, received = b"", []
            if not (answer and received):
                self._drop()
                return None
            undo.pop_all()
        os.set_inheritable(received[0], False)
        stdin, stdout, stderr, status = pipes.ours
        wait = partial(_exit_status, status)
        return Process(int(answer), received[0], stdin, stdout, stderr, wait=wait, further=(status,))

    def _open(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection = ours
        with theirs:
            self._process = subprocess.Popen(
                [*self._program, "serve"], stdin=theirs.fileno(), stdout=subprocess.DEVNULL,
                cwd="/", env=ENVIRONMENT | HOME | PRELOADED, start_new_session=True,
            )  # fmt: skip
        return ours

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def _exit_status(status: int) -> int:
    """The byte that a child writes at its end; one that was killed, by whatever signal, writes none."""
    written = os.read(status, 1)
    return written[0] if written else -signal.SIGKILL
